#!/usr/bin/env bash
# Breaks the program on purpose, one line at a time, and demands that the simulator notices, or else a unit test of the
# rooms it broke. Works on a copy of the tree under target/. scripts/mutants.sh [NAME...] tries only the named ones.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly copy=target/mutants/tree build=$PWD/target/mutants/build

# name | file | sed script: what a tired person could write.
mutants() {
  cat <<'LIST'
first-commit-dropped|src/tick.rs|0,/store.commit(registry)?;/{/store.commit(registry)?;/d}
first-commit-unchecked|src/tick.rs|0,/store.commit(registry)?;/s/store.commit(registry)?;/let _ = store.commit(registry);/
second-commit-dropped|src/tick.rs|/registry.note(&plan/{n;d}
unknown-fleet-is-empty|src/tick.rs|s/fleet: tick.fleet.observe(\(.*\)),$/fleet: Observed::Known(tick.fleet.observe(\1).known().cloned().unwrap_or_default()),/
unknown-source-is-empty|src/tick.rs|s/tick.source.read(tick.until)/Observed::Known(tick.source.read(tick.until).known().cloned().unwrap_or_default())/
groups-never-fail|src/tick.rs|s/failed_group = Some(decision.group);/failed_group = None;/
reply-is-sight|src/registry/note.rs|s/Happened::NotTried(_) => self.try_again(launch, again),/Happened::Tried => self.current(\&launch.run).into_iter().for_each(|agent| agent.state = crate::registry::AgentStanding::Running),\n&/
not-started-is-not-withdrawn|src/registry/note.rs|s/^        self.withdraw_all(plan, outcomes, now);//
all-start-again-alone|src/registry/note.rs|s/let alone = again.resume.*/let alone = true;/
withdrawn-number-used-again|src/registry/intend.rs|/^    pub(super) fn withdraw(/a\        self.names.last_n.insert(run.agent.clone(), run.n - 1);
number-not-raised|src/registry/begin.rs|/^    pub(super) fn start(/{n;d}
resumes-not-counted|src/decide/launch.rs|s/map_or(0, |agent| agent.resumes + 1)/map_or(0, |agent| agent.resumes)/
claimed-resume-given-back|src/registry/intend.rs|s/if class == Class::Infra \&\& never_claimed/if class == Class::Infra/
handoff-not-recorded|src/registry/intend.rs|/self.handoffs.entry(run.clone()).or_insert(handoff);/d
required-note-ignored|src/registry/note.rs|s/if note.required \&\& note.status == Status::Started {/if false {/
refused-dispatch-keeps-ok|src/registry/note.rs|/agent.ok &= class != Class::Writeback;/d
person-overruled|src/registry/intend.rs|s/let settled = record.parked_by == Some(ParkedBy::Person) .*/let settled = false;/
new-life-keeps-old-work|src/registry/intend.rs|/^            Refresh::Renew {/,/^            Refresh::Clamp/s/agent.ok = false;//
active-for-ever|src/registry/intend.rs|s/ItemStanding::Active | ItemStanding::Waiting => ItemStanding::Waiting,/still => still,/
later-text-forgotten|src/registry/begin.rs|s/let given = if anew || same {/let given = if true {/
removed-role-waited-for|src/registry/intend.rs|s/self.settle(&gone.item);//
stray-without-deadline|src/registry/begin.rs|s/deadline_ms: spec.deadline_ms,/deadline_ms: None,/
nothing-charged|src/registry/intend.rs|s/record.attempts += 1;//
in-flight-ignored|src/decide/gates.rs|s/if !registry.in_flight(id) && asked.standing() != .*/if true {/
backoff-ignored|src/decide/gates.rs|s/due_at.filter(|due_at| \*due_at > now.at)/due_at.filter(|_| false)/
unseen-takes-no-slot|src/decide/slots.rs|s/filter(|agent| agent.state != AgentStanding::Idle);/filter(|agent| agent.state == AgentStanding::Running);/
handoff-takes-no-slot|src/decide/slots.rs|s/running.map(|agent| &agent.item).chain(handed_off)/running.map(|agent| \&agent.item).chain(handed_off.take(0))/
starts-unbounded|src/decide/gates.rs|s/let exhausted = .*/let exhausted = wanted > 100;/
labels-unbounded|src/decide/gates.rs|s/filter(|max| taken >= \*\*max)/filter(|_| false)/
starts-into-the-dark|src/decide/gates.rs|s/draft.world.fleet.unknown()/draft.world.fleet.unknown().filter(|_| false)/
uncertain-is-fine|src/decide/gates.rs|s/if draft.uncertain.contains(&asked.item.id) {/if false {/
taken-name-asked-for-again|src/decide/handoffs.rs|s/if !(handoff.name_taken \&\& (held .*/if true {/
handoff-not-awaited|src/decide/gates.rs|s/handoffs_of(&asked.item.id).next()?/handoffs_of(\&asked.item.id).nth(9)?/
parked-is-no-bar|src/decide/gates.rs|/^fn parked(/,/^}/s/asked.standing() == Some(ItemStanding::Parked)/false/
breaker-ignored|src/decide/gates.rs|s/^fn breaker(asked: .*/&\n    if true { return None; }/
failures-not-counted|src/registry/intend.rs|/self.count_failure(item, because, now);/d
success-keeps-the-breaker-open|src/registry/intend.rs|0,/self.failing = None;/s/self.failing = None;//
day-without-end-of-starts|src/decide/gates.rs|s/^fn budget(asked: .*/&\n    if true { return None; }/
starts-of-the-day-not-counted|src/registry/begin.rs|s/self.count_start(now);//
clock-set-back-is-a-new-day|src/registry/brakes.rs|s/if now > self.day {/if now != self.day {/
ended-well-is-done-whatever-it-takes|src/decide/done.rs|s/Done::Command(_) | Done::Source => return,/Done::Command(_) | Done::Source => "it ended well",/
goes-on-for-ever|src/decide/done.rs|s/if continued >= max {/if false {/
no-effect-goes-on|src/decide/done.rs|s/all(|(_, agent)| repeated(agent))/all(|_| false)/
unknown-answer-is-not-yet|src/decide/done.rs|s/\&\& !answers(draft, id).contains(&Some(1))/\&\& false/
source-read-before-the-end|src/decide/done.rs|s/any(|(_, agent)| just_ended(agent))/any(|_| false)/
gone-while-at-work-is-done|src/decide/done.rs|s/draft.config.done == Done::Source \&\& all_ended_well(draft, id)/draft.config.done == Done::Source/
bad-text-not-remembered|src/decide/dispatch.rs|/draft.refresh(Refresh::Given/d
no-start-grace|src/decide/runs.rs|/Some(age) if age < grace => return,/d
fence-taken-for-won|src/decide/runs.rs|s/draft.decide(Some(&agent.item), because, Action::Fence { run: run.clone() });/infra(draft, agent, run, \&because, false);/
orphan-not-reaped|src/decide/runs.rs|0,/reap(draft, agent, run, claim.as_ref(), because);/s//{ let _ = claim; infra(draft, agent, run, because, false); }/
late-at-once|src/decide/runs.rs|s/is_none_or(|age| age > patience(draft) + hook)/is_none_or(|_| true)/
verdict-before-the-note|src/decide/runs.rs|s/draft.config.writeback.started == WritebackMode::Required$/false/
resumed-for-ever|src/decide/runs.rs|s/&& resumes < config.attempts.resumes_max/\&\& resumes <= config.attempts.resumes_max/
deadline-at-once|src/decide/runs.rs|s/&& age > latest/\&\& age < latest/
survivors-forgotten|src/decide/runs.rs|s/^    if survivors.is_empty() {$/    if true {/
handoff-released-with-survivors|src/decide/handoffs.rs|s/Sighting::Ended(ended) if ended.survivors.is_empty() =>/Sighting::Ended(_) =>/
handoff-released-at-sight|src/decide/handoffs.rs|s/draft.decide(item, handoff.why.clone(), reap(claim.as_ref()));/{ let _ = reap(claim.as_ref()); release(draft, item, run, "seen") }/
handoff-unclaimed-released|src/decide/handoffs.rs|s/draft.decide(item, "it must never start", Action::Fence { run: run.clone() });/release(draft, item, run, "nobody claimed it");/
one-read-is-enough|src/decide/items.rs|s/const MISSING_READS_MAX: u32 = 2;/const MISSING_READS_MAX: u32 = 1;/
persons-park-overruled|src/decide/items.rs|s/ItemStanding::Parked => (changed || returned) .*/ItemStanding::Parked => changed || returned,/
labels-redo-finished-work|src/decide/items.rs|s/ItemStanding::Done => redone || returned,/ItemStanding::Done => changed || returned,/
attempts-unbounded|src/decide/items.rs|s/if record.attempts >= max {/if false {/
uncharged-unbounded|src/decide/items.rs|s/const UNCHARGED_ROW_MAX: u32 = 5;/const UNCHARGED_ROW_MAX: u32 = u32::MAX;/
parked-runs-on|src/decide/items.rs|s/stop_all(draft, id, "its item was parked");//
clock-set-back-believed|src/decide/items.rs|/^        clamp_due_time(draft, &id);/d
malformed-is-gone|src/decide/items.rs|s/if view.unclear.iter().any(.*/if false {/
new-life-beside-old-run|src/decide/items.rs|s/if renew \&\& !draft.registry.running(&item.id) {/if renew {/
edited-item-parked|src/decide/items.rs|s/if edited_meanwhile(draft, id) {/if false {/
half-a-crew-is-done|src/decide/done.rs|s/draft.config.roles.iter().all(/draft.config.roles.iter().any(/
number-of-fenced-stray-free|src/decide/strays.rs|s/draft.refresh(Refresh::Used.*/{}/
strays-ignored|src/decide/strays.rs|s/in &fleet.strays {/in fleet.strays.iter().take(0) {/
older-strays-live-on|src/decide/strays.rs|/^            end_older(draft, run, spec);/d
recorded-run-replaced|src/decide/strays.rs|/^        end_recorded(draft, highest);/d
announced-again-and-again|src/decide/notes.rs|s/(!is_told(record, status)).then_some(status)/Some(status)/
best-effort-for-ever|src/registry/note.rs|s/if record.tell_tries >= NOTE_TRIES_MAX \&\& !note.required {/if false {/
stray-removed|src/retention.rs|s/let is_known = |run: &RunId| .*/let is_known = |_: \&RunId| true;/
handed-off-run-removed|src/retention.rs|s/latest.chain(current).chain(registry.handoffs.keys().cloned())/latest.chain(current)/
latest-run-removed|src/retention.rs|s/latest.chain(current)/current.chain(latest.take(0))/
unfinished-item-loses-workspace|src/retention.rs|s/let finished = .*/let finished = true;/
workspace-goes-at-once|src/retention.rs|s/let for_long = .*/let for_long = true;/
workspace-goes-under-a-live-run|src/retention.rs|s/if !finished || to_be_ended || registry.in_flight(id) {/if !finished {/
taken-up-again-and-still-finished|src/registry/records.rs|s/named.finished_at = None;/let _ = named;/
provider-is-paid-for|src/model/verdict.rs|0,/            | Class::Stalled$/s//            | Class::Stalled\n            | Class::Unreachable/
cool-off-ignored|src/decide/cool_offs.rs|s/until.filter(|until| \*until > draft.now.at)/until.filter(|_| false)/
everybody-tries-at-once|src/decide/cool_offs.rs|s/^        agent.harness == role.harness$/        false/
trial-holds-up-for-ever|src/decide/cool_offs.rs|s/age.is_some_and(|age| age < TRIAL)/age.is_some()/
each-straggler-is-a-failure|src/decide/cool_offs.rs|s/let tried = before.is_none_or(.*/let tried = true;/
waits-never-grow|src/decide/cool_offs.rs|s/let row = before.map_or(0, .*/let row = 1;/
told-reset-not-heard|src/decide/cool_offs.rs|s/Some(reset) => reset.max(draft.now.after(FIRST)),/Some(_) => draft.now.after(FIRST),/
late-word-shortens-the-wait|src/decide/cool_offs.rs|s/let until = told.map_or(own, .*/let until = own;/
straggler-moves-the-beginning|src/registry/intend.rs|s/filter(|before| \*row > 0 \&\& before.row == \*row)/filter(|_| false)/
clock-set-back-prolongs-the-wait|src/decide/mod.rs|s/        cool_offs::right_the_clock(self);//
straggler-proves-an-answer|src/decide/cool_offs.rs|s/if cool_off.is_some_and(|cool_off| began_after.*/if cool_off.is_some() {/
answer-not-heard|src/decide/runs.rs|/cool_offs::answered(draft, agent);/d
wait-never-forgotten|src/decide/cool_offs.rs|s/return latest.is_some_and(.*/let _ = latest; return None;/
denied-role-goes-on|src/decide/cool_offs.rs|s/^        refuse_login(draft, agent, because)$/        let _ = refuse_login;/
denied-for-ever|src/decide/cool_offs.rs|s/return (now != cool_off.credentials.as_ref())/return (false \&\& now != cool_off.credentials.as_ref())/
session-of-an-earlier-run|src/decide/launch.rs|s/chosen_session(&draft.world.lineage, &run)/chosen_session(\&draft.world.lineage, \&RunId { n: 1, ..run.clone() })/
tokens-of-a-session-count-twice|src/decide/verdict.rs|s/Counts::Session => agent.session_tokens.*/Counts::Session => 0,/
costs-forgotten|src/registry/begin.rs|s/cost: before.and_then(|agent| agent.cost),/cost: None,/
day-costs-nothing|src/registry/brakes.rs|s/today.usd = sum(today.usd, .*//
LIST
}

wanted() {
  local name=$1
  shift
  [ $# -eq 0 ] && return 0
  local one
  for one in "$@"; do [ "$one" = "$name" ] && return 0; done
  return 1
}

fresh_copy() {
  rm -rf "$copy"
  mkdir -p "$copy"
  # What git knows, as it is in the working tree, committed or not.
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ -e "$file" ] && cp --parents -p "$file" "$copy"
  done
}

# Prints who noticed and how; fails where nobody did.
noticed_by() {
  local log=target/mutants/log
  local cargo=(cargo test --offline --locked --manifest-path "$copy/Cargo.toml" --target-dir "$build")
  if ! "${cargo[@]}" --test it --no-run >"$log" 2>&1; then
    printf 'does not compile: %s' "$(grep -m 1 '^error' "$log")"
    return 2
  fi
  if ! timeout 600 "${cargo[@]}" --test it sim::every_rule >"$log" 2>&1; then
    # The first rule that it broke; or that it never came to an end.
    printf 'simulator: %s' "$(grep -m 1 -oE 'seed [0-9]+, tick [0-9]+, rule [a-z_]+' "$log" || tail -n 1 "$log")"
    return 0
  fi
  if ! timeout 600 "${cargo[@]}" --lib -- decide:: registry:: retention:: tick:: >"$log" 2>&1; then
    printf 'unit test: %s' "$(grep -m 1 -oE '^test .* FAILED' "$log" || tail -n 1 "$log")"
    return 0
  fi
  return 1
}

fresh_copy
survived=() tried=0
while IFS='|' read -r name file script <&3; do
  # A script may hold the separator too: read has left it whole in the last field.
  wanted "$name" "$@" || continue
  tried=$((tried + 1))
  cp "$copy/$file" "$copy/$file.whole"
  sed -i "$script" "$copy/$file"
  if cmp -s "$copy/$file" "$copy/$file.whole"; then
    printf '%-34s no longer applies to %s: adapt it\n' "$name" "$file"
    survived+=("$name")
    continue
  fi
  if how=$(noticed_by); then
    printf '%-34s %s\n' "$name" "$how"
  else
    printf '%-34s NOBODY NOTICED %s\n' "$name" "$how"
    survived+=("$name")
  fi
  # With a new time of change, or cargo would take the broken one for built.
  cat "$copy/$file.whole" >"$copy/$file"
done 3< <(mutants)

[ "$tried" -gt 0 ] || { printf 'no mutant is called so\n' >&2; exit 2; }
printf '%d of %d noticed\n' "$((tried - ${#survived[@]}))" "$tried"
[ "${#survived[@]}" -eq 0 ]
