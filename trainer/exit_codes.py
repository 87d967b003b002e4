"""How the program ends: launchers decide by it whether to start it again."""

# A mistake in flags or data, or no room on a disk: a restart would not help.
USER_ERROR = 2
# Training diverged: a restart would diverge again.
DIVERGED = 3
# New texts have drifted from those of the training, and --fail_on_drift. All is written.
DRIFTED = 4
# Preempted, or another worker was lost: start all workers again, and they resume.
# EX_TEMPFAIL of sysexits.h: "temporary failure; user is invited to retry".
RESTART = 75
# Ctrl-C, as shells have it (128 + SIGINT).
INTERRUPTED = 130
