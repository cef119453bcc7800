//! What is remembered of an item, in words for a person.

use crate::registry::{ItemPhase, ItemRecord, Last, Message, ParkedBy, TrackerNote};
use crate::text::escape;
use crate::ui::layout::Span;
use crate::ui::style::Style;

/// A label and its value.
pub(super) fn labelled(label: &str, value: Span) -> (Span, Span) {
    (Span::words(label).style(Style::Dim), value)
}

/// What a person may want to know of the record. Counts of zero are left out.
pub(super) fn fields(record: &ItemRecord) -> Vec<(Span, Span)> {
    let words = |label: &str, words: String| labelled(label, Span::words(words));
    let mut fields = vec![words("phase", phase(record))];
    fields.extend(failures(record).map(|failures| words("failures", failures)));
    fields.extend(record.last.as_ref().map(|last| words(label_of(last), told(last))));
    fields.extend(record.due_at.map(|due| words("due", escape::time(due))));
    if record.dispatch > 0 {
        fields.push(words("dispatched", times(record.dispatch)));
    }
    if record.continued > 0 {
        let continued = format!("{} by itself, after a run that ended well", times(record.continued.into()));
        fields.push(words("went on", continued));
    }
    fields.extend(tracker(&record.outbox.tracker_note).map(|tracker| words("tracker", tracker)));
    fields.push(labelled("read from", Span::whole(&record.origin)));
    if record.missing_reads > 0 {
        let missing = format!("from {} complete reads of its source in a row", record.missing_reads);
        fields.push(words("missing", missing));
    }
    fields.extend(record.taken.as_ref().map(|why| words("workspace", why.clone())));
    fields.extend(record.messages.iter().map(|message| words("message", said(message))));
    fields
}

fn phase(record: &ItemRecord) -> String {
    let words = match (record.state, record.parked_by) {
        (ItemPhase::Waiting, _) => "waiting for a start",
        (ItemPhase::Active, _) => "active: a run of it is in flight, or follows by itself",
        (ItemPhase::Done, _) => "done",
        (ItemPhase::Parked, Some(ParkedBy::Person)) => "parked by a person, until a person retries it",
        (ItemPhase::Parked, Some(ParkedBy::Budget)) => "parked: its starts of one day are used up",
        (ItemPhase::Parked, Some(ParkedBy::Rule)) => {
            "parked by a rule, until it changes or a person retries it"
        }
        (ItemPhase::Parked, None) => "parked",
    };
    words.to_owned()
}

/// `1 charged; 2 in a row that charge no attempt`
fn failures(record: &ItemRecord) -> Option<String> {
    let charged = (record.attempts > 0).then(|| format!("{} charged", record.attempts));
    let uncharged = (record.uncharged_streak > 0)
        .then(|| format!("{} in a row that charge no attempt", record.uncharged_streak));
    let known: Vec<_> = charged.into_iter().chain(uncharged).collect();
    (!known.is_empty()).then(|| known.join("; "))
}

/// A person's order has no class.
fn label_of(last: &Last) -> &'static str {
    if last.class.is_some() { "last failure" } else { "parked" }
}

/// `agent, at 2026-11-20 08:51:15Z: exit code 1`
fn told(last: &Last) -> String {
    let class = last.class.map_or_else(String::new, |class| format!("{}, ", class.name()));
    format!("{class}at {}: {}", escape::time(last.at), last.because)
}

/// `told: started, at 2026-11-20 08:50:00Z; to be told: parked (failed 2 times: timed out)`
fn tracker(note: &TrackerNote) -> Option<String> {
    let last = note.notified.as_ref().map(|notified| {
        let fate = if notified.dropped { "given up" } else { "told" };
        format!("{fate}: {}, at {}", notified.status.name(), escape::time(notified.at))
    });
    let wanted = note.wanted.as_ref().map(|wanted| {
        let error = note.last_error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        let failed = (note.tries > 0).then(|| format!(" (failed {}{error})", times(note.tries.into())));
        format!("to be told: {}{}", wanted.status.name(), failed.unwrap_or_default())
    });
    let known: Vec<_> = last.into_iter().chain(wanted).collect();
    (!known.is_empty()).then(|| known.join("; "))
}

fn said(message: &Message) -> String {
    let heard = if message.heard { "heard" } else { "not heard yet" };
    format!("{} ({heard})", message.text)
}

fn times(count: u64) -> String {
    if count == 1 { "1 time".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FailureClass, Status};
    use crate::registry::{Note, Registry};
    use crate::ui::layout::Layout;

    fn shown(change: impl FnOnce(&mut ItemRecord)) -> String {
        let registry: Registry =
            serde_json::from_str(include_str!("../../../fixtures/screens/registry.json")).unwrap();
        let record = registry.items.iter().find(|(id, _)| id.0 == "dir:AR-3").unwrap().1;
        let mut record = record.clone();
        change(&mut record);
        let mut page = Layout::new(200);
        page.fields(0, &fields(&record));
        page.to_text()
    }

    #[test]
    fn record_is_shown_in_words_without_zeros_and_hashes() {
        let text = shown(|_| {});
        for line in [
            "failures      1 charged\n",
            "dispatched    1 time\n",
            "tracker       told: started, at 2026-11-20 08:50:00Z\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        for absent in ["hash", "slug", "missing", "due_at", "{", "uncharged"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }

    #[test]
    fn parked_record_says_by_whom_and_for_what() {
        let text = shown(|record| {
            record.state = ItemPhase::Parked;
            record.parked_by = Some(ParkedBy::Person);
            record.last = Some(Last {
                class: None,
                because: "a person parked it".to_owned(),
                at: "2026-11-20T08:51:15Z".parse().unwrap(),
            });
        });
        assert!(text.contains("parked by a person, until a person retries it\n"), "{text}");
        assert!(text.contains("parked      at 2026-11-20 08:51:15Z: a person parked it\n"), "{text}");
    }

    #[test]
    fn counts_that_are_not_zero_are_shown() {
        let text = shown(|record| {
            record.uncharged_streak = 2;
            record.missing_reads = 3;
            record.continued = 4;
            let note = &mut record.outbox.tracker_note;
            note.tries = 5;
            note.last_error = Some("timed out".to_owned());
            note.wanted = Some(Note {
                status: Status::Parked,
                dispatch: 1,
                at: "2026-11-20T08:52:00Z".parse().unwrap(),
                because: String::new(),
            });
            record.messages = vec![Message { text: "use tabs".to_owned(), ..Message::default() }];
            record.last.as_mut().unwrap().class = Some(FailureClass::Denied);
        });
        for part in [
            "1 charged; 2 in a row that charge no attempt",
            "from 3 complete reads of its source in a row",
            "4 times by itself",
            "told: started, at 2026-11-20 08:50:00Z; to be told: parked (failed 5 times: timed out)",
            "use tabs (not heard yet)",
            "denied, at 2026",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
