//! How a person goes on with an agent's session by hand.

use std::path::Path;

use crate::config::{Config, prompt};
use crate::harness;
use crate::model::RunId;
use crate::registry::{AgentRecord, Registry};
use crate::text::escape;

/// Where runs and workspaces lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// The state directory.
    pub(super) state: &'a Path,
    /// The folder of workspaces.
    pub(super) workspaces: &'a Path,
}

/// What to type in any shell, where the agent has named a session that can be gone on with: `cd … && claude
/// --resume …`, or the role's own `resume`. `run` is the agent's latest.
pub(super) fn command(
    config: &Config,
    places: &Places<'_>,
    registry: &Registry,
    run: &RunId,
    agent: &AgentRecord,
) -> Option<String> {
    let session = agent.session.as_deref()?;
    let named = registry.names.items.get(&agent.spec.item)?;
    let workspace = places.workspaces.join(&named.workspace).to_string_lossy().into_owned();
    let prompt_file = places.state.join("runs").join(run.to_string()).join("prompt.md");
    let argv = match harness::preset(&agent.spec.harness) {
        Some(preset) => preset.takeover_argv(session),
        None => {
            let role = config.roles.iter().find(|role| role.name == agent.spec.role)?;
            let run = run.to_string();
            let prompt_file = prompt_file.to_string_lossy();
            prompt::fill(&role.resume, Some(session), Some(&run), Some(&workspace), Some(&prompt_file))
        }
    };
    let words: Vec<_> = argv.iter().map(|word| escape::shell_word(word)).collect();
    (!words.is_empty()).then(|| format!("cd {} && {}", escape::shell_word(&workspace), words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn told(harness: &str, session: Option<&str>, resume: &str) -> Option<String> {
        let config = format!(
            "[[role]]\nname = \"implementer\"\nsuffix = \"impl\"\ncommand = [\"agent\"]\nresume = {resume}\n"
        );
        let config = config::parse(&config, Path::new("/srv/factory.toml"), &|_| Err(String::new())).unwrap();
        let registry: Registry =
            serde_json::from_str(include_str!("../../fixtures/screens/registry.json")).unwrap();
        let (name, agent) = registry.agents.iter().find(|(name, _)| name.0 == "ar-2-impl").unwrap();
        let mut agent = AgentRecord { session: session.map(str::to_owned), ..agent.clone() };
        agent.spec.harness = harness.to_owned();
        let run = RunId { agent: name.clone(), n: agent.spec.id.n };
        let places = Places { state: Path::new("/srv/my state"), workspaces: Path::new("/srv/my work") };
        command(&config, &places, &registry, &run, &agent)
    }

    #[test]
    fn a_session_is_gone_on_with_as_its_program_wants_it() {
        let told = |harness, resume| told(harness, Some("s-1"), resume).unwrap();
        assert_eq!(told("claude", "[]"), "cd '/srv/my work/AR-2' && claude --resume s-1");
        assert_eq!(told("codex", "[]"), "cd '/srv/my work/AR-2' && codex resume s-1");
        assert_eq!(
            told("command", r#"["./agent", "--go on", "{session}", "{prompt_file}", "{run}", "{x}"]"#),
            "cd '/srv/my work/AR-2' && /srv/agent '--go on' s-1 '/srv/my state/runs/ar-2-impl.1/prompt.md' ar-2-impl.1 \
             '{x}'"
        );
    }

    // A session is what an agent printed.
    #[test]
    fn a_session_is_one_word_whatever_is_in_it() {
        let command = told("claude", Some("$(reboot); '"), "[]").unwrap();
        assert_eq!(command, "cd '/srv/my work/AR-2' && claude --resume '$(reboot); '\\'''");
    }

    #[test]
    fn without_a_session_or_a_way_to_resume_there_is_nothing_to_type() {
        assert_eq!(told("claude", None, "[]"), None);
        assert_eq!(told("command", Some("s-1"), "[]"), None);
    }
}
