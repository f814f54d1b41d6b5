"""Rules held against a model: which heads and words they mean, what is found, and the whole job.

bound     rules with their heads, texts and positions    words     verdicts on attention between words, and on suites
measures  verdicts on budgets and classes of heads       baseline  today's numbers beside recorded ones
job       from texts to verdicts and files
"""
