#!/usr/bin/env bash
# attncli as shell scripts use it; each line that does not hold ends the script with its number.
set -euo pipefail
trap 'echo "line $LINENO does not hold" >&2' ERR

ends_with() { # ends_with CODE COMMAND…: stdout stays empty and stderr is one line
  local code=0
  "${@:2}" > out.txt 2> err.txt || code=$?
  [[ $code -eq $1 && ! -s out.txt && $(wc -l < err.txt) -eq 1 ]]
}

text="The cat sat on the mat."

# data alone on stdout, for a second process, and no colours
NO_COLOR=1 attncli stats --text "$text" --metric entropy 2> err.txt | tail -n +2 | cut -d, -f1-3 > heads.txt
[[ ! -s err.txt && $(wc -l < heads.txt) -eq 16 && $(head -n 1 heads.txt) == encoder,0,0 ]]
attncli explain entropy > page.txt
if grep -q $'\x1b' heads.txt page.txt; then exit 1; fi
attncli stats --text "$text" --metric entropy --json | python -c '
import json, sys
heads = json.load(sys.stdin)["heads"]
sys.exit(not all(0 <= head["entropy"] for head in heads))'

# readers that go away; pipefail would tell of a broken pipe
attncli stats --text "$text" --metric entropy --per-query --json 2> err.txt | head -n 1 > /dev/null
attncli heatmap --text "$text" --layer 0 --each 2>> err.txt | true
[[ ! -s err.txt ]]

# exit codes for `set -e`
ends_with 2 attncli stats --text "$text" --layer 99
ends_with 2 attncli run no-such-file.yaml
ends_with 3 attncli stats --text "$text" --model ./no-such-model
ends_with 4 attncli stats --text "$text" --out heads.txt

# names with spaces and in any script
mkdir -p "a folder/ünï 猫"
printf 'One two three.\nFour five six.\n' > "a folder/ünï 猫/the texts.txt"
printf 'inputs: [{file: "the texts.txt", name: two}]\nsteps: [stats: {metric: sink}]\n' > "a folder/ünï 猫/my plan.yaml"
attncli stats --file "a folder/ünï 猫/the texts.txt" --out "a folder/ünï 猫/the numbers" --metric sink --format parquet --no-pictures > /dev/null
[[ -s "a folder/ünï 猫/the numbers/stats.parquet" ]]
attncli run "a folder/ünï 猫/my plan.yaml" --out "a folder/out 猫" | while read -r path; do [[ -s $path ]]; done
[[ -s "a folder/out 猫/demo-encoder/two/stats/stats.json" ]]

# thousands of lines of stdin
seq 2500 | sed 's/^/line /' | attncli stats --file - --metric first_mass --layer 0 --no-pictures > many.csv
[[ $(tail -n 1 many.csv | cut -d, -f4) -eq 2500 ]]

# several at once into the same outputs/: equal ones agree, others keep to their own folder
for word in one one two; do attncli stats --text "$word more" --metric entropy --no-pictures > "$word.$RANDOM.csv" & jobs+=($!); done
for job in "${jobs[@]}"; do wait "$job"; done
[[ $(find outputs/stats -name manifest.json | wc -l) -ge 2 ]]
for manifest in outputs/stats/*/*/manifest.json; do grep -q '"complete": true' "$manifest"; done
[[ -z $(find outputs -name '.attncli-*') ]]
cmp one.*.csv
echo holds
