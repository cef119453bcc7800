//! What an agent could use as credentials, as a fingerprint: enough to see that they changed, and nothing of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::fingerprint::sha256_hex;
use crate::harness::{Home, Preset};
use crate::run::env::{self, Vars};
use crate::run::env_file::FileVars;

/// Enough to tell one from another; too little to try keys against, if a key should ever be short.
const DIGITS: usize = 16;

/// By role, for those whose harness can tell that it was denied: the variables that its agents get besides the usual
/// ones, and the login that its program keeps in a file.
///
/// `file`: what `[env] file` holds. `lineage` salts it: two factories with the same key have different fingerprints of it.
pub fn of_roles(
    inherited: &Vars,
    config: &Config,
    file: &FileVars,
    lineage: &str,
) -> BTreeMap<String, String> {
    let with_preset = config.roles.iter().filter_map(|role| Some((role, role.preset()?)));
    with_preset
        .map(|(role, preset)| {
            let of_preset = preset.env.iter().map(|name| (*name).to_owned());
            let names: Vec<_> = role.env.iter().cloned().chain(of_preset).collect();
            let vars = env::of_role(inherited, &config.env, file, &names);
            let mut parts = vec![b"credentials".to_vec(), lineage.as_bytes().to_vec(), login(preset, &vars)];
            for (name, value) in vars.iter().filter(|(name, _)| !env::is_usual(name)) {
                parts.push(name.as_bytes().to_vec());
                parts.push(value.as_bytes().to_vec());
            }
            let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
            (role.name.clone(), sha256_hex(&parts)[..DIGITS].to_owned())
        })
        .collect()
}

/// Which login file there is: its inode, size and times, not what it holds.
fn login(preset: &Preset, vars: &Vars) -> Vec<u8> {
    let Home { var, folder, login, .. } = preset.home;
    let below_home = || Some(Path::new(vars.get(OsStr::new("HOME"))?).join(folder));
    let folder = vars.get(OsStr::new(var)).map(PathBuf::from).or_else(below_home);
    let data = folder.and_then(|folder| std::fs::metadata(folder.join(login)).ok());
    let data =
        data.map(|data| format!("{} {} {} {}", data.ino(), data.size(), data.mtime(), data.mtime_nsec()));
    data.unwrap_or_default().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config() -> Config {
        let text = "[[role]]\nname = \"a\"\nsuffix = \"a\"\nharness = \"claude\"\n\
                    [[role]]\nname = \"b\"\nsuffix = \"b\"\ncommand = [\"true\"]\n";
        config::parse(text, Path::new("/f/factory.toml"), &|_| unreachable!()).unwrap()
    }

    fn of(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
        of_roles(&vars, &config(), &FileVars::new(), "lineage")
    }

    #[test]
    fn another_key_is_another_fingerprint_and_another_path_is_not() {
        let key = of(&[("ANTHROPIC_API_KEY", "k-1"), ("PATH", "/bin"), ("LC_ALL", "C")]);
        assert_eq!(key.keys().collect::<Vec<_>>(), ["a"], "a command tells nobody that it was denied");
        assert_eq!(key, of(&[("ANTHROPIC_API_KEY", "k-1"), ("PATH", "/usr/bin"), ("TZ", "UTC")]));
        assert_ne!(key, of(&[("ANTHROPIC_API_KEY", "k-2"), ("PATH", "/bin"), ("LC_ALL", "C")]));
        assert!(!key["a"].contains("k-1"));
    }

    #[test]
    fn a_new_login_is_another_fingerprint() {
        let home = tempfile::tempdir().unwrap();
        let vars = [("HOME", home.path().to_str().unwrap())];
        let before = of(&vars);
        let folder = home.path().join(".claude");
        std::fs::create_dir(&folder).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a file of a test")]
        std::fs::write(folder.join(".credentials.json"), "{}").unwrap();
        assert_ne!(before, of(&vars));
    }
}
