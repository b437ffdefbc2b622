//! Asks for the host's huge pages. A guest's memory and its decoded code are hundreds of MiB, looked at here and there:
//! with pages of 4 KiB much of the time goes to finding them (7 % of the start of Debian's installer).

/// Starts this program again, once, with the GNU C library told to ask for huge pages: that can only be said in the
/// environment, before a program starts. Elsewhere, and where it cannot be done, it goes on as it is.
pub(super) fn ask_for_them() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::{env, os::unix::process::CommandExt, process::Command};

        const VARIABLE: &str = "GLIBC_TUNABLES";
        const TUNABLE: &str = "glibc.malloc.hugetlb";

        let before = env::var(VARIABLE).unwrap_or_default();
        // Who says something of them knows better.
        if before.contains(TUNABLE) {
            return;
        }
        let separator = if before.is_empty() { "" } else { ":" };
        let Ok(program) = env::current_exe() else { return };
        let mut arguments = env::args_os();
        let mut command = Command::new(program);
        command.arg0(arguments.next().unwrap_or_default()).args(arguments);
        // It comes back only where it fails.
        let _ = command.env(VARIABLE, format!("{before}{separator}{TUNABLE}=1")).exec();
    }
}
