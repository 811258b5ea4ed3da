# Ray on every node of the allocation, the driver on the first. A second start resumes the run.
set -euo pipefail

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
# Another job on the same node has other ports.
port=$((20000 + 10 * (SLURM_JOB_ID % 1200)))

shares=(--dashboard-agent-listen-port=$((port + 2)) --num-cpus="$CPUS" --num-gpus="$GPUS")

# Only the processes of this job may join its Ray, or submit work to it.
if [ -z "${RAY_AUTH_MODE:-}" ]; then
  RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
fi

# Only to be called in a subshell, which it replaces: to end the one is to end the other.
step() {
  exec srun --overlap --no-kill --kill-on-bad-exit=0 --ntasks-per-node=1 --cpus-per-task="$CPUS" "$@"
}

started=()
driver=
finish() {
  kill "${started[@]}" 2>/dev/null || true
  wait "${started[@]}" 2>/dev/null || true
}
trap finish EXIT
# What is finished is kept: the driver ends its workers and leaves the run folder in order.
trap 'kill -TERM $driver 2>/dev/null || true' TERM

addresses=$(step --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
ip=$(tr ' ' '\n' <<<"$addresses" | grep -m 1 -E '^[0-9]+(\.[0-9]+){3}$') || {
  echo "steereval: $head has no IPv4 address: $addresses" >&2
  exit 1
}
address=$ip:$port

step --nodes=1 --ntasks=1 --nodelist="$head" \
  ray start --head --block --node-ip-address="$ip" --port="$port" \
  --ray-client-server-port=$((port + 1)) --include-dashboard=false \
  --temp-dir="/tmp/ray-$SLURM_JOB_ID" "${shares[@]}" &
started+=($!)
tries=0
until answer=$(ray health-check --address "$address" 2>&1); do
  tries=$((tries + 1))
  if [ "$tries" -gt "$TRIES" ] || ! kill -0 "${started[0]}" 2>/dev/null; then
    echo "steereval: Ray did not start on $head: ${answer##*$'\n'}" >&2
    exit 1
  fi
  sleep 1
done

# The driver takes each node when it joins, so that it need not wait for the slowest.
if [ "${#hosts[@]}" -gt 1 ]; then
  others=("${hosts[@]:1}")
  step --nodes="${#others[@]}" --ntasks="${#others[@]}" --nodelist="$(IFS=,; echo "${others[*]}")" \
    ray start --address="$address" --block "${shares[@]}" &
  started+=($!)
fi

drive "$address" &
driver=$!
status=0
wait "$driver" || status=$?
if [ "$status" -gt 128 ]; then
  # The signal ended the wait, not yet the driver.
  status=0
  wait "$driver" || status=$?
fi
exit "$status"
