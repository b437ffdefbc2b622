//! Firmware images from Debian packages, without root and without changing the system.
//!
//! apt's own client downloads with the system's package lists where it has them; otherwise, and for
//! packages of another architecture, with lists of a private state that is thrown away afterwards.
//! Images go to `firmware/`, which git ignores; `firmware.lock.toml` has their sums.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use toml_span::Value;

use crate::{Failure, shell};

/// The lock file, beside this crate's manifest.
const LOCK: &str = include_str!("../firmware.lock.toml");

/// What was accepted although its sum is not the lock file's: image, package version, sum.
const TAKEN: &str = "taken.json";

/// The images that demonstration, checks and benchmark need.
pub const SEABIOS: [&str; 2] = ["bios.bin", "bios-256k.bin"];

/// A Debian package with the images to take from it.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    /// Only payloads need it.
    large: bool,
    images: Vec<Image>,
}

#[derive(Debug)]
struct Image {
    /// Name in `firmware/`.
    file: String,
    /// Path in the package.
    path: String,
    /// Of the locked version.
    sha256: String,
}

/// Images of newer versions that were taken: by file, the version and the sum.
type Taken = BTreeMap<String, (String, String)>;

/// The task: images of the lock file, and any further packages named.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(option) = arguments.iter().find(|argument| argument.starts_with('-')) {
        return Err(format!("unknown option `{option}`; expected names of Debian packages").into());
    }
    let folder = shell::firmware_folder();
    images(&folder, false)?;
    for package in arguments {
        let place = folder.join("packages").join(package.replace(':', "_"));
        if place.is_dir() {
            println!("{package}: in {} already", place.display());
            continue;
        }
        let work = tempfile::tempdir()?;
        download(&[package.as_str()], work.path())?;
        for archive in archives(work.path())? {
            let tree = work.path().join("tree");
            unpack(&archive, &tree)?;
            fs::create_dir_all(folder.join("packages"))?;
            copy_tree(&tree, &place)?;
            println!("{package}: unpacked in {}", place.display());
        }
    }
    Ok(())
}

/// All images of the lock file, the large ones too.
pub fn run_all() -> Result<(), Failure> {
    images(&shell::firmware_folder(), true)
}

/// Brings the images to `folder`; that some are missing is only a warning as long as those `needed`
/// are there.
pub fn ensure(folder: &Path, needed: &[&str]) -> Result<(), Failure> {
    match images(folder, false) {
        Err(failure) if needed.iter().all(|file| folder.join(file).is_file()) => {
            eprintln!("warning: {failure}");
            Ok(())
        }
        result => result,
    }
}

/// Brings every image of the lock file to `folder`, unless it is there; large ones only `with_large`.
fn images(folder: &Path, with_large: bool) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let mut packages = lock(LOCK)?;
    packages.retain(|package| with_large || !package.large);
    let mut taken = read_taken(folder);
    let wanted: Vec<&Package> =
        packages.iter().filter(|package| !is_complete(package, folder, &taken)).collect();
    if wanted.is_empty() {
        println!("firmware: all {} images are in {}", count(&packages), folder.display());
        return Ok(());
    }
    let work = tempfile::tempdir()?;
    let names: Vec<&str> = wanted.iter().map(|package| package.name.as_str()).collect();
    let (foreign, native): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains(':'));
    let mut failure = download_each(&native, work.path()).err();
    failure = failure.or(download_each(&foreign, work.path()).err());
    let archives = archives(work.path())?;
    for package in &wanted {
        let archive = archives.iter().find(|archive| is_of(&package.name, &file_name(archive), &foreign));
        let tree = work.path().join("trees").join(&package.name);
        let (root, version) = match archive {
            Some(archive) => {
                unpack(archive, &tree)?;
                (tree.as_path(), shell::read(Command::new("dpkg-deb").arg("-f").arg(archive).arg("Version"))?)
            }
            // Not downloaded: the same bytes may be installed on this host.
            None => (Path::new("/"), package.version.clone()),
        };
        if let Err(error) = take(package, root, version.trim(), folder, &mut taken) {
            failure.get_or_insert(error);
        }
    }
    write_taken(folder, &taken)?;
    if packages.iter().all(|package| is_complete(package, folder, &taken)) {
        println!("firmware: {} images in {}", count(&packages), folder.display());
        return Ok(());
    }
    if let Some(failure) = failure {
        eprintln!("{failure}");
    }
    Err(by_hand(&packages, folder, &taken).into())
}

fn count(packages: &[Package]) -> usize {
    packages.iter().map(|package| package.images.len()).sum()
}

/// Reads the lock file.
fn lock(text: &str) -> Result<Vec<Package>, Failure> {
    let document = toml_span::parse(text).map_err(|error| format!("firmware.lock.toml: {error}"))?;
    let string = |value: &Value<'_>, key: &str| -> Result<String, Failure> {
        let found = value.as_table().and_then(|table| table.get(key)).and_then(Value::as_str);
        found.map(str::to_owned).ok_or_else(|| format!("firmware.lock.toml: `{key}` is missing").into())
    };
    let array = |value: &'_ Value<'_>, key: &str| -> usize {
        value.pointer(&format!("/{key}")).and_then(Value::as_array).map_or(0, Vec::len)
    };
    let mut packages = Vec::new();
    for index in 0..array(&document, "package") {
        let Some(package) = document.pointer(&format!("/package/{index}")) else {
            continue;
        };
        let mut images = Vec::new();
        for index in 0..array(package, "images") {
            let Some(image) = package.pointer(&format!("/images/{index}")) else {
                continue;
            };
            images.push(Image {
                file: string(image, "file")?,
                path: string(image, "path")?,
                sha256: string(image, "sha256")?,
            });
        }
        packages.push(Package {
            name: string(package, "name")?,
            version: string(package, "version")?,
            large: package.pointer("/large").and_then(Value::as_bool).unwrap_or(false),
            images,
        });
    }
    Ok(packages)
}

/// Whether every image of `package` is in `folder`, with its sum or one that was accepted before.
fn is_complete(package: &Package, folder: &Path, taken: &Taken) -> bool {
    package.images.iter().all(|image| {
        let Ok(sum) = sha256(&folder.join(&image.file)) else {
            // A newer version may no longer have it.
            return taken.get(&image.file).is_some_and(|(_, sum)| sum.is_empty());
        };
        if sum == image.sha256 {
            return true;
        }
        let Some((version, _)) = taken.get(&image.file).filter(|(_, accepted)| *accepted == sum) else {
            return false;
        };
        warn(package, &image.file, version);
        true
    })
}

fn warn(package: &Package, file: &str, version: &str) {
    let newer = Command::new("dpkg").args(["--compare-versions", version, "gt", &package.version]).status();
    let relation = if newer.is_ok_and(|status| status.success()) { "newer than" } else { "not" };
    eprintln!(
        "warning: {file} is from {} {version}, {relation} the {} that results are recorded for",
        package.name, package.version
    );
}

/// Copies a package's images from its unpacked tree, after looking at their sums.
fn take(
    package: &Package,
    root: &Path,
    version: &str,
    folder: &Path,
    taken: &mut Taken,
) -> Result<(), Failure> {
    for image in &package.images {
        let source = root.join(&image.path);
        let same_version = version == package.version;
        let sum = match sha256(&source) {
            Ok(sum) => sum,
            Err(_) if !same_version => {
                eprintln!("warning: {} {version} has no {}", package.name, image.path);
                taken.insert(image.file.clone(), (version.to_owned(), String::new()));
                continue;
            }
            Err(error) => return Err(format!("{}: {error}", source.display()).into()),
        };
        if sum != image.sha256 {
            if same_version {
                return Err(format!(
                    "{} of {} {version} has SHA-256 {sum}; firmware.lock.toml says {}",
                    image.path, package.name, image.sha256
                )
                .into());
            }
            warn(package, &image.file, version);
            taken.insert(image.file.clone(), (version.to_owned(), sum));
        } else {
            taken.remove(&image.file);
        }
        let temporary = folder.join(format!(".{}.new", image.file));
        fs::copy(&source, &temporary)?;
        fs::rename(&temporary, folder.join(&image.file))?;
    }
    Ok(())
}

/// Downloads packages, and where one of them is not to be had, at least the others.
fn download_each(packages: &[&str], folder: &Path) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    match download(packages, folder) {
        Err(failure) if packages.len() > 1 => {
            println!(
                "firmware: one by one, because together they could not be had ({})",
                first_line(&failure)
            );
            let mut result = Ok(());
            for package in packages {
                result = result.and(download(&[package], folder));
            }
            result
        }
        result => result,
    }
}

/// Downloads packages (`name` or `name:architecture`) into `folder` with apt's own client.
fn download(packages: &[&str], folder: &Path) -> Result<(), Failure> {
    if !shell::is_installed("apt-get") {
        return Err("there is no apt here".into());
    }
    fs::create_dir_all(folder)?;
    let foreign = packages.iter().any(|package| package.contains(':'));
    if !foreign {
        println!("firmware: apt-get download {}", packages.join(" "));
        let state = private_cache(folder)?;
        match shell::read(apt(&state).arg("download").args(packages).current_dir(folder)) {
            Ok(_) => return Ok(()),
            Err(error) => println!("firmware: the system's package lists do not do ({})", first_line(&error)),
        }
    }
    println!("firmware: apt-get update and download {} with a private state", packages.join(" "));
    let state = private_state(folder, packages)?;
    if let Err(error) = shell::read(apt(&state).arg("update")) {
        // Some lists may have come; the download says whether they are enough.
        eprintln!("warning: {error}");
    }
    shell::read(apt(&state).arg("download").args(packages).current_dir(folder)).map(|_| ())
}

fn first_line(error: &Failure) -> String {
    error.to_string().lines().nth(1).unwrap_or_default().to_owned()
}

/// apt-get with options that keep it away from the system's state.
fn apt(options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "APT::Sandbox::User=root"]);
    for option in options {
        command.args(["-o", option]);
    }
    command
}

/// The system's lists, but nothing written beside them.
fn private_cache(folder: &Path) -> io::Result<Vec<String>> {
    let cache = folder.join("apt-cache");
    fs::create_dir_all(cache.join("archives/partial"))?;
    Ok(vec![format!("Dir::Cache={}", cache.display()), "Debug::NoLocking=1".to_owned()])
}

/// The system's sources and keys, but lists, caches and architectures of our own.
fn private_state(folder: &Path, packages: &[&str]) -> io::Result<Vec<String>> {
    let state = folder.join("apt-state");
    fs::create_dir_all(state.join("lists/partial"))?;
    let status = state.join("status");
    fs::write(&status, "")?;
    let mut options = private_cache(folder)?;
    options.push(format!("Dir::State={}", state.display()));
    options.push(format!("Dir::State::status={}", status.display()));
    options.push("Acquire::Languages=none".to_owned());
    for architecture in packages.iter().filter_map(|package| package.split_once(':')) {
        options.push(format!("APT::Architectures::={}", architecture.1));
    }
    Ok(options)
}

fn unpack(archive: &Path, tree: &Path) -> Result<(), Failure> {
    fs::create_dir_all(tree)?;
    shell::read(Command::new("dpkg-deb").arg("-x").arg(archive).arg(tree)).map(|_| ())
}

fn archives(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut archives: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    archives.sort();
    Ok(archives)
}

/// Whether an archive (`name_version_architecture.deb`) is that of `package`, when those of another architecture
/// that were asked for are `foreign`: the same name may be there twice.
fn is_of(package: &str, archive: &str, foreign: &[&str]) -> bool {
    let mut parts = archive.trim_end_matches(".deb").split('_');
    let (name, architecture) = (parts.next().unwrap_or_default(), parts.next_back().unwrap_or_default());
    match package.split_once(':') {
        Some(asked) => asked == (name, architecture),
        None => name == package && !foreign.contains(&format!("{name}:{architecture}").as_str()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &place)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read_taken(folder: &Path) -> Taken {
    let text = fs::read_to_string(folder.join(TAKEN)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn write_taken(folder: &Path, taken: &Taken) -> Result<(), Failure> {
    let path = folder.join(TAKEN);
    if taken.is_empty() {
        let _ = fs::remove_file(path);
        return Ok(());
    }
    Ok(fs::write(path, serde_json::to_string_pretty(taken)?)?)
}

/// What to do where apt does not help.
fn by_hand(packages: &[Package], folder: &Path, taken: &Taken) -> String {
    let mut text =
        format!("not all firmware could be had by apt. Put these files into {}:\n", folder.display());
    for package in packages.iter().filter(|package| !is_complete(package, folder, taken)) {
        text.push_str(&format!("  from Debian's package {} {}:\n", package.name, package.version));
        for image in &package.images {
            text.push_str(&format!(
                "    /{} as {}\n      SHA-256 {}\n",
                image.path, image.file, image.sha256
            ));
        }
    }
    text.push_str("warmboot runs without them too: --firmware rom:hello, or any image of your own");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_is_well_formed() {
        let packages = lock(LOCK).expect("readable");
        assert!(packages.len() >= 4);
        let mut files = std::collections::BTreeSet::new();
        for image in packages.iter().flat_map(|package| &package.images) {
            assert!(files.insert(&image.file), "{} is there twice", image.file);
            assert!(image.sha256.len() == 64 && !image.path.starts_with('/'), "{image:?}");
        }
        // What the command finds by name is what is downloaded, or made of it.
        use warmboot_scenario::firmware::{INITRDS, KERNELS, KNOWN};
        for known in KNOWN.iter().chain(KERNELS).chain(INITRDS) {
            let file = known.files.first().expect("a file");
            let there = files.contains(&(*file).to_owned()) || crate::made::FILES.contains(file);
            assert!(there, "{file} is neither downloaded nor made");
        }
    }

    #[rstest::rstest]
    #[case("tool", "tool_1%3a2_amd64.deb", true)]
    #[case("tool", "tool_1_all.deb", true)]
    #[case("tool", "tool_1_i386.deb", false)]
    #[case("tool:i386", "tool_1_i386.deb", true)]
    #[case("tool:i386", "tool_1_amd64.deb", false)]
    #[case("tool", "tool-doc_1_all.deb", false)]
    fn an_archive_is_of_one_package(#[case] package: &str, #[case] archive: &str, #[case] expect: bool) {
        assert_eq!(is_of(package, archive, &["tool:i386"]), expect);
    }

    #[test]
    fn sums_and_versions_decide() {
        let work = tempfile::tempdir().expect("a temporary folder");
        let (root, folder) = (work.path().join("root"), work.path().join("firmware"));
        fs::create_dir_all(&root).expect("a folder");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(root.join("a"), "abc").expect("a file");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let package = |sha256: &str| Package {
            name: "p".into(),
            version: "1".into(),
            large: false,
            images: vec![Image { file: "b".into(), path: "a".into(), sha256: sha256.into() }],
        };
        let mut taken = Taken::new();
        let other = package("00");
        assert!(take(&other, &root, "1", &folder, &mut taken).is_err(), "same version, other sum");
        assert!(!is_complete(&other, &folder, &taken));
        take(&other, &root, "2", &folder, &mut taken).expect("newer version, other sum");
        assert!(is_complete(&other, &folder, &taken));
        let same = package(abc);
        take(&same, &root, "1", &folder, &mut taken).expect("same version, same sum");
        assert!(taken.is_empty() && is_complete(&same, &folder, &taken));
        assert!(by_hand(&[other], &folder, &taken).contains("/a as b"));
    }
}
