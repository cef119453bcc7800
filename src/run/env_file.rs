//! `[env] file`: variables for every agent, in a file that nobody else can read.
//!
//! One `NAME=value` per line. Blank lines and lines that begin with `#` say nothing; `export ` may stand in front.
//! Nothing is expanded. What other readers of such files understand differently is refused here: a secret that is
//! cut short fails far from where the mistake is. No text of the file is ever part of an error but a name.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::config::OWN_VARIABLES;
use crate::durable::atomic;

/// The environment of a process has to fit into less.
const BYTES_MAX: u64 = 1 << 20;

/// What others than the owner may do with such a file: nothing. Nor is it a program.
const MODE_REFUSED: u32 = 0o177;

/// Variables, by name.
pub type FileVars = BTreeMap<String, String>;

/// Reads such a file.
///
/// # Errors
///
/// What is wrong with it and what to do: it is no regular file, not ours, or others may read it; or a line of it,
/// by its number.
pub fn read(path: &Path) -> Result<FileVars, String> {
    let shown = path.display();
    let name = path.to_str().ok_or_else(|| format!("{shown}: its path is not UTF-8"))?;
    let opened = atomic::open_regular(rustix::fs::CWD, name).map_err(|error| format!("{shown}: {error}"))?;
    let (file, _) = opened.ok_or_else(|| format!("{shown}: there is no such file"))?;
    let mode = rustix::fs::fstat(&file).map_err(|error| format!("{shown}: {error}"))?.st_mode & 0o7777;
    if mode & MODE_REFUSED != 0 {
        return Err(format!("{shown}: its mode is {mode:03o}, so others may use it: chmod 600 {shown}"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("{shown}: {error}"))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("{shown}: it is larger than {} KiB", BYTES_MAX >> 10));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: it is not UTF-8"))?;
    parse(&text).map_err(|(line, what)| format!("{shown}:{line}: {what}"))
}

/// The variables of a text; else the number of the first line that is wrong, from 1, and what is.
fn parse(text: &str) -> Result<FileVars, (usize, String)> {
    let mut vars = FileVars::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = assignment(line).map_err(|what| (index + 1, what))?;
        if OWN_VARIABLES.contains(&name) {
            return Err((index + 1, format!("{name} can't be set: factory-tick sets it itself")));
        }
        if vars.insert(name.to_owned(), value).is_some() {
            return Err((index + 1, format!("{name} is set a second time")));
        }
    }
    Ok(vars)
}

fn assignment(line: &str) -> Result<(&str, String), String> {
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("it is no NAME=value")?;
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(
            "it does not begin with the name of a variable: letters, digits and _, then `=` at once".into()
        );
    }
    let value = match value.trim_start().chars().next() {
        Some('\'') => single_quoted(value.trim_start()),
        Some('"') => double_quoted(value.trim_start()),
        _ => plain(value),
    };
    let value = value.map_err(|what| format!("the value of {name} {what}"))?;
    if value.contains('\0') {
        return Err(format!("the value of {name} has a NUL character in it"));
    }
    Ok((name, value))
}

/// Up to the end of the line, as it stands.
fn plain(value: &str) -> Result<String, &'static str> {
    if value.contains(" #") || value.contains("\t#") {
        // A comment to some, a part of the value to others.
        return Err("has a # after a blank: put it in quotes, or move the comment to a line of its own");
    }
    Ok(value.trim().to_owned())
}

/// As it stands between the quotes.
fn single_quoted(value: &str) -> Result<String, &'static str> {
    match value[1..].split_once('\'') {
        Some((inside, "")) => Ok(inside.to_owned()),
        Some(_) => Err("goes on after its closing quote"),
        None => Err("has no closing quote on its line"),
    }
}

/// With `\n`, `\t`, `\"`, `\\` and `\$`.
fn double_quoted(value: &str) -> Result<String, &'static str> {
    let mut read = String::new();
    let mut chars = value[1..].chars();
    loop {
        match chars.next() {
            None => return Err("has no closing quote on its line"),
            Some('"') if chars.as_str().is_empty() => return Ok(read),
            Some('"') => return Err("goes on after its closing quote"),
            Some('\\') => read.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(same @ ('"' | '\\' | '$')) => same,
                _ => return Err("has a backslash that means nothing: \\n, \\t, \\\", \\\\ and \\$ do"),
            }),
            Some(other) => read.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn values_are_what_stands_there() {
        let text = r#"
            # A comment.
            PLAIN=a b=c "d" \n $HOME#x
            export EMPTY=
            SINGLE='a "b" \n $HOME # c'
            DOUBLE="a 'b' \"c\" \\ \$HOME $HOME\n\tend # d"
            JSON={"a": 1}
        "#;
        let vars: Vec<_> = parse(text).unwrap().into_iter().collect();
        let want = [
            ("DOUBLE", "a 'b' \"c\" \\ $HOME $HOME\n\tend # d"),
            ("EMPTY", ""),
            ("JSON", "{\"a\": 1}"),
            ("PLAIN", "a b=c \"d\" \\n $HOME#x"),
            ("SINGLE", "a \"b\" \\n $HOME # c"),
        ];
        assert_eq!(vars, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parse("A=1\r\nB='2'\r\n").unwrap().len(), 2);
    }

    // Some readers cut a value at ` #`, some expand it, some go on in the next line. Whoever is misunderstood here
    // finds an agent that is refused by its provider an hour later.
    #[test]
    fn what_could_be_misunderstood_is_refused_and_never_told() {
        for (line, what) in [
            ("xyzzy", "it is no NAME=value"),
            ("xyzzy word=x", "begin with the name"),
            ("A =xyzzy", "begin with the name"),
            ("1A=xyzzy", "begin with the name"),
            ("=xyzzy", "begin with the name"),
            ("A=xyzzy # why", "of A has a # after a blank"),
            ("A='xyzzy", "of A has no closing quote"),
            ("A=\"xyzzy", "of A has no closing quote"),
            ("A=\"xyzzy\\", "of A has a backslash"),
            ("A='xyz'zzy", "of A goes on"),
            ("A=\"xyz\" zzy", "of A goes on"),
            ("A=\"xyz\\qzzy\"", "of A has a backslash"),
            ("A=xyz\0zzy", "of A has a NUL"),
            ("B=xyzzy", "B is set a second time"),
            ("FACTORY_RUN=xyzzy", "FACTORY_RUN can't be set"),
            ("GIT_CEILING_DIRECTORIES=xyzzy", "GIT_CEILING_DIRECTORIES can't be set"),
        ] {
            let (number, told) = parse(&format!("B=1\n\n{line}\n")).unwrap_err();
            assert_eq!(number, 3, "{line}");
            assert!(told.contains(what), "{line}: {told}");
            assert!(!told.contains("xyz") && !told.contains("zzy"), "{line}: {told}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test writes what a person writes")]
    fn only_a_file_that_nobody_else_can_read_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agents.env");
        assert!(read(&path).unwrap_err().ends_with("there is no such file"));
        std::fs::write(&path, "TOKEN=t\n").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&path)
        };
        for mode in [0o600, 0o400] {
            assert_eq!(with_mode(mode).unwrap()["TOKEN"], "t");
        }
        for mode in [0o640, 0o604, 0o620, 0o601, 0o700] {
            let told = with_mode(mode).unwrap_err();
            assert!(told.contains(&format!("its mode is {mode:o}")) && told.contains("chmod 600"), "{told}");
        }
        with_mode(0o600).unwrap();
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(read(&link).unwrap_err().contains("a symbolic link, not a regular file"));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(read(&fifo).unwrap_err().contains("a FIFO, not a regular file"));
        assert!(read(dir.path()).unwrap_err().contains("a directory, not a regular file"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_variables_or_told_by_its_line(text in "([A-Z_0-9]{0,3}=?[ \"'\\\\a#$\u{0}n]{0,6}\n?){0,6}|.*") {
            match parse(&text) {
                Ok(vars) => {
                    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
                    let is_good = |(name, value): (&String, &String)| is_name(name) && !value.contains('\0');
                    proptest::prop_assert!(vars.iter().all(is_good));
                }
                Err((line, what)) => {
                    proptest::prop_assert!((1..=text.lines().count()).contains(&line) && !what.is_empty());
                }
            }
        }
    }

    // Origin: mutated - no unit test noticed that the bound on the size was gone.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test lays out the file that is read")]
    fn file_of_exactly_1_mib_is_read_and_a_larger_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        let of_size = |bytes: u64| {
            let comment = "#".repeat(bytes as usize - "A=1\n".len());
            std::fs::write(&path, format!("A=1\n{comment}")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            read(&path)
        };
        assert_eq!(of_size(BYTES_MAX).unwrap()["A"], "1");
        assert!(of_size(BYTES_MAX + 1).unwrap_err().ends_with("it is larger than 1024 KiB"));
        assert!(of_size(2 * BYTES_MAX).unwrap_err().ends_with("it is larger than 1024 KiB"));
    }
}
