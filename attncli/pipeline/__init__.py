"""The only place where steps are joined: load, run, choose, measure, draw, save, open. The public Python API.

model     load a model, run it on texts (needs torch)      passes    one pass: encode, choose, fit, run, collect
run       what came of it; saved runs and foreign maps     maps      choose among kept maps and fold them
pictures  which pictures, their names, how to draw         measuring measures in a pass or of kept maps
request   what may be asked of a run                       memory    how much a run would keep
jobs      what commands do, from texts to files            page      a run as one page
patterns  what heads do, of a pass or of kept maps         likeness  which heads are alike, in the same way
shuffles  the same texts with their tokens shuffled
"""
