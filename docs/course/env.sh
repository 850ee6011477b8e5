# The course's lab, for `source docs/course/env.sh` in each terminal: a small market, and all its files in .course/.
# `rm -rf .course` deletes it. Your own lab in .lab/ and the repository's use cases stay as they are.
export PATH="$PWD/.venv/bin:$PATH"
export LAB_HOME="$PWD/.course" LAB_USE_CASES="$PWD/.course/use_cases" LAB_DATOS_SCALE=0.01
export COLUMNS="${COLUMNS:-120}"
test -d .course/use_cases || { mkdir -p .course/use_cases && cp -r use_cases/. .course/use_cases; }
