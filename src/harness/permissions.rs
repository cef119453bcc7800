//! Whether an agent may do anything: run without a person, both programs deny what nobody has allowed, and end well
//! all the same.

/// What allows a program's agent to act, as far as its arguments tell.
#[derive(Debug)]
pub struct PermissionTable {
    /// Options with a value, each by all its names, and the values that allow something.
    pub(crate) valued: &'static [(&'static [&'static str], &'static [&'static str])],
    /// Options that allow something by being there.
    pub(crate) flags: &'static [&'static str],
    /// Options that name a file which may allow something; with a `=` at its end: how a value begins that does.
    pub(crate) elsewhere: &'static [&'static str],
    /// Of all those words the ones that the program refuses to root.
    pub(crate) not_for_root: &'static [&'static str],
    /// Set to `1`, it makes the program take them even from root.
    pub root_override: &'static str,
    /// The arguments that a new role begins with: its agent may work in the workspace.
    pub suggested: &'static [&'static str],
    /// What becomes of an agent that nothing is allowed.
    pub without: &'static str,
}

/// Where a program keeps what a person told it once, below the home directory.
#[derive(Debug)]
pub struct Home {
    /// The variable that names another folder.
    pub var: &'static str,
    /// The folder, below HOME.
    pub folder: &'static str,
    /// The file of settings in it.
    pub settings: &'static str,
    /// The word in the settings without which they allow nothing.
    pub grant: &'static str,
    /// What a login leaves in it.
    pub login: &'static str,
}

/// What arguments allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permitted {
    /// Something, by these words.
    By(String),
    /// Whatever the file says that these words name.
    Elsewhere(String),
    /// Nothing.
    Nothing,
}

impl PermissionTable {
    /// What these arguments of the program allow its agent.
    pub fn of(&self, args: &[String]) -> Permitted {
        let options = || options(args);
        for (name, value) in options() {
            for (names, values) in self.valued {
                if names.contains(&name) && value.is_some_and(|value| values.contains(&bare(value).as_str()))
                {
                    return Permitted::By(format!("{name} {}", bare(value.unwrap_or_default())));
                }
            }
            if self.flags.contains(&name) {
                return Permitted::By(name.to_owned());
            }
        }
        let begins = |text: &str| {
            self.elsewhere.iter().any(|word| word.ends_with('=') && bare(text).starts_with(word))
        };
        let named =
            options().find(|(name, value)| self.elsewhere.contains(name) || value.is_some_and(begins));
        named.map_or(Permitted::Nothing, |(name, value)| {
            Permitted::Elsewhere(format!("{name} {}", value.unwrap_or_default()).trim_end().to_owned())
        })
    }

    /// The word among these arguments for which the program refuses to run as root.
    pub fn refused_to_root<'a>(&self, args: &'a [String]) -> Option<&'a str> {
        let words = options(args).flat_map(|(name, value)| [Some(name), value]);
        words.flatten().find(|word| self.not_for_root.contains(word))
    }
}

/// Every option with what may be its value: `--name value`, `--name=value`, `-nvalue`, `-n=value`.
fn options(args: &[String]) -> impl Iterator<Item = (&str, Option<&str>)> {
    args.iter().enumerate().filter_map(|(at, word)| {
        let next = args.get(at + 1).map(String::as_str).filter(|next| !next.starts_with('-'));
        if !word.starts_with('-') {
            return None;
        }
        if let Some((name, value)) = word.split_once('=').filter(|(name, _)| name.starts_with("--")) {
            return Some((name, Some(value)));
        }
        match word.char_indices().nth(2) {
            Some((end, _)) if !word.starts_with("--") => {
                Some((&word[..end], Some(word[end..].trim_start_matches('='))))
            }
            _ => Some((word, next)),
        }
    })
}

/// A value as it is meant: `sandbox_mode = "x"` is `sandbox_mode=x`.
fn bare(value: &str) -> String {
    value.chars().filter(|c| !matches!(c, '"' | '\'' | ' ')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{PRESETS, preset};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn granted(name: &str, line: &str) -> Permitted {
        preset(name).unwrap().grants.of(&words(line))
    }

    #[test]
    fn what_allows_an_agent_something_is_known_in_each_of_its_forms() {
        for (name, line, by) in [
            ("claude", "-p --permission-mode acceptEdits", "--permission-mode acceptEdits"),
            ("claude", "-p --permission-mode=bypassPermissions", "--permission-mode bypassPermissions"),
            ("claude", "-p --allowedTools Bash Edit", "--allowedTools"),
            ("claude", "-p --allowed-tools=Bash", "--allowed-tools"),
            ("claude", "-p --dangerously-skip-permissions", "--dangerously-skip-permissions"),
            ("claude", "-p --permission-prompt-tool mcp__x", "--permission-prompt-tool"),
            ("codex", "exec --json --sandbox workspace-write -", "--sandbox workspace-write"),
            ("codex", "exec -sdanger-full-access", "-s danger-full-access"),
            ("codex", "exec -s=workspace-write", "-s workspace-write"),
            ("codex", "exec --full-auto", "--full-auto"),
            ("codex", "exec -c sandbox_mode=\"workspace-write\"", "-c sandbox_mode=workspace-write"),
            ("codex", "exec --config=sandbox_mode=workspace-write", "--config sandbox_mode=workspace-write"),
        ] {
            assert_eq!(granted(name, line), Permitted::By(by.to_owned()), "{name} {line}");
        }
        for (name, line, by) in [
            ("claude", "-p --settings team.json", "--settings team.json"),
            ("codex", "exec --profile ci", "--profile ci"),
            ("codex", "exec -c default_permissions=ci", "-c default_permissions=ci"),
        ] {
            assert_eq!(granted(name, line), Permitted::Elsewhere(by.to_owned()), "{name} {line}");
        }
    }

    // A plain `claude -p`, and a plain `codex exec`, end with 0 after each of their tools was denied.
    #[test]
    fn what_allows_nothing_is_told_from_it() {
        for (name, line) in [
            ("claude", "-p --model opus"),
            ("claude", "-p --permission-mode plan"),
            ("claude", "-p --permission-mode dontAsk"),
            ("claude", "-p --disallowedTools Bash"),
            ("claude", "-p --allow-dangerously-skip-permissions"),
            ("claude", "-p acceptEdits"),
            ("codex", "exec --json -"),
            ("codex", "exec --sandbox read-only"),
            ("codex", "exec -c sandbox_mode=read-only"),
            ("codex", "exec -c model=workspace-write"),
        ] {
            assert_eq!(granted(name, line), Permitted::Nothing, "{name} {line}");
        }
        for preset in PRESETS {
            let plain = preset.start_argv("x", &[]);
            assert_eq!(preset.grants.of(&plain[1..]), Permitted::Nothing, "{}", preset.name);
        }
    }

    #[test]
    fn what_a_new_role_begins_with_allows_something_and_also_to_root() {
        for preset in PRESETS {
            let args = preset.grants.suggested.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
            let argv = preset.start_argv("x", &args);
            assert!(matches!(preset.grants.of(&argv), Permitted::By(_)), "{}", preset.name);
            assert_eq!(preset.grants.refused_to_root(&argv), None);
        }
    }

    // The real program says "cannot be used with root/sudo privileges", and ends with 1 at once.
    #[test]
    fn what_claude_refuses_to_root_is_known() {
        let refused =
            |line| preset("claude").unwrap().grants.refused_to_root(&words(line)).map(str::to_owned);
        assert_eq!(refused("-p --dangerously-skip-permissions").unwrap(), "--dangerously-skip-permissions");
        assert_eq!(refused("-p --permission-mode=bypassPermissions").unwrap(), "bypassPermissions");
        assert_eq!(refused("-p --permission-mode acceptEdits"), None);
    }
}
