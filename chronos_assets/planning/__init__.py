"""What the sensors request: pure functions of what was seen and a cursor, without a clock, without Dagster.

Here: deciding. Elsewhere: looking (listing, run states, materializations) and launching, which the
sensors in `defs` do.

Both plans compare what there is with what there should be, at every tick, and remember in the cursor only what keeps
them from asking twice: a change that a tick missed, a crash, a lost cursor or a run that did something else is found at
the next look. Time is counted in ticks: a clock that jumps changes nothing.

Order of looking, which the caller owes: first the states of the runs, then what they made, then the listing. The other
way round a run that ends in between looks like one that ended without effect.

Run keys are functions of what is to be made, from what, and of the attempt, so that a tick repeated after a crash
gives the same ones, which Dagster takes once.
"""
