//! Running test code in this process. All `unsafe` of the crate is here.
//!
//! There is one [`Native`] at a time: code and data have fixed addresses, the local descriptor table and
//! signal handlers belong to the whole process. An exception reaches us as a signal. Its handler notes
//! what the kernel tells of it and goes on at the way out, with all other registers as they were.

use std::{
    arch::x86_64::__cpuid_count,
    io,
    mem::transmute,
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use crate::{
    End, Registers, Vectors,
    image::VECTOR_BYTES,
    layout::{
        CODE, CODE_BYTES, DATA, DATA_LIMIT, DATA_PAGES, Mode, READ_ONLY, WAYS, WAYS_BYTES, WRITABLE,
        WRITABLE_BYTES,
    },
    trampoline::{self, AREA, CASE, Case, Kind, Way},
};

/// What CPUID of this processor says.
#[must_use]
#[allow(unused_unsafe)]
pub fn cpuid(function: u32, index: u32) -> [u32; 4] {
    // SAFETY: every x86-64 processor has CPUID.
    let found = unsafe { __cpuid_count(function, index) };
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// A `Native` exists.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Between entering a block and leaving it: the thread that did, or zero. The signal handlers meddle
/// with nothing else.
static INSIDE: AtomicU64 = AtomicU64::new(0);
/// The way out of the block.
static LEAVE: AtomicU64 = AtomicU64::new(0);
/// Runs begun, and how many were when the watchdog last looked.
static RUNS: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);

/// What the handler noted: whether there was an exception at all (the vector plus one), its error code,
/// CR2 and the instruction pointer.
static VECTOR: AtomicU64 = AtomicU64::new(0);
static ERROR: AtomicU64 = AtomicU64::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
static AT: AtomicU64 = AtomicU64::new(0);

/// Noted instead of an exception when a block does not end.
const ENDLESS: u64 = 0x100;
/// How often the watchdog looks, in microseconds.
const WATCHDOG: libc::suseconds_t = 200_000;
const SIGNALS: [libc::c_int; 5] = [libc::SIGILL, libc::SIGFPE, libc::SIGSEGV, libc::SIGBUS, libc::SIGTRAP];
const HANDLER_STACK: usize = 64 * 1024;

/// The processor, ready to run blocks.
#[derive(Debug)]
pub struct Native {
    ways: [Way; 4],
    kind: Kind,
    mode: Mode,
    entry: u64,
    handler_stack: *mut libc::c_void,
}

impl Native {
    /// Maps code and data, of which `read_only` is the page that can only be read, and takes over the
    /// signals that exceptions come as.
    ///
    /// # Errors
    /// What this host does not have or allow, in words.
    pub fn new(read_only: &[u8; 4096]) -> Result<Native, String> {
        if !std::is_x86_feature_detected!("xsave") {
            return Err("this processor or system has no XSAVE".into());
        }
        if TAKEN.swap(true, Relaxed) {
            return Err("the processor is compared with already".into());
        }
        let made = Native::map(read_only);
        if made.is_err() {
            TAKEN.store(false, Relaxed);
        }
        made
    }

    fn map(read_only: &[u8; 4096]) -> Result<Native, String> {
        use libc::{PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE};
        let failed = |what: &str| format!("{what}: {}", io::Error::last_os_error());
        let pages = (DATA_PAGES * 4096) as usize;
        map(DATA, pages, PROT_NONE).map_err(|()| failed("no room for test data"))?;
        map(CODE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC)
            .map_err(|()| failed("no room for test code"))?;
        map(WAYS, WAYS_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC)
            .map_err(|()| failed("no room for the way to test code"))?;
        let page = DATA + READ_ONLY * 4096;
        protect(page, 4096, PROT_READ | PROT_WRITE).map_err(|()| failed("mprotect"))?;
        // SAFETY: the page was just mapped, is writable, and nobody else knows of it.
        unsafe { ptr::copy_nonoverlapping(read_only.as_ptr(), page as *mut u8, read_only.len()) };
        protect(page, 4096, PROT_READ).map_err(|()| failed("mprotect"))?;
        protect(DATA + WRITABLE * 4096, WRITABLE_BYTES, PROT_READ | PROT_WRITE)
            .map_err(|()| failed("mprotect"))?;
        let components = if std::is_x86_feature_detected!("avx") { 7 } else { 3 };
        let (bytes, ways) = trampoline::assemble(components).map_err(|error| error.to_string())?;
        // SAFETY: `WAYS` is mapped and writable, and the ways are shorter than a page.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), WAYS as *mut u8, bytes.len().min(4096)) };
        local_segments().map_err(|()| failed("modify_ldt"))?;
        let handler_stack = handle_signals().map_err(|()| failed("signals"))?;
        watch(WATCHDOG).map_err(|()| failed("setitimer"))?;
        Ok(Native {
            ways,
            kind: Kind { far: false, vectors: false },
            mode: Mode::SixtyFour,
            entry: 0,
            handler_stack,
        })
    }

    /// Puts a block at offset `offset` of the code, with a way out behind it. `vectors`: it uses or
    /// changes x87, MMX, SSE or AVX registers, which are loaded and stored only then. Cut where the code
    /// ends. Gives the way out's bytes: a block can read them through CS.
    pub fn load(&mut self, mode: Mode, offset: usize, bytes: &[u8], vectors: bool) -> Vec<u8> {
        self.mode = mode;
        self.kind = Kind { far: mode != Mode::SixtyFour, vectors };
        self.entry = CODE - mode.code_base() + offset as u64;
        let way = self.ways[self.kind.index()];
        LEAVE.store(way.leave, Relaxed);
        let end = trampoline::end(mode.bits(), self.entry + bytes.len() as u64, way.leave);
        for (index, byte) in bytes.iter().chain(&end).enumerate() {
            if offset + index < CODE_BYTES {
                // SAFETY: within the code's pages, which are writable. Volatile, because they are code.
                unsafe { ptr::write_volatile((CODE as usize + offset + index) as *mut u8, *byte) };
            }
        }
        end
    }

    /// The data that can be written.
    pub fn data(&mut self) -> &mut [u8] {
        // SAFETY: mapped while there is a `Native`, which is borrowed; test code writes there only in `run`.
        unsafe { std::slice::from_raw_parts_mut((DATA + WRITABLE * 4096) as *mut u8, WRITABLE_BYTES) }
    }

    /// Runs the block from `registers` on, and leaves in them what it makes of them.
    pub fn run(&mut self, registers: &mut Registers) -> End {
        let case = CASE as *mut Case;
        let area = AREA as *mut Vectors;
        let before = Case {
            general: registers.general,
            flags: registers.flags,
            target: if self.kind.far {
                self.entry | u64::from(self.mode.code_selector()) << 32
            } else {
                self.entry
            },
            data: self.mode.data_selector().into(),
            stack: self.mode.stack_selector().into(),
            host_stack: 0,
            host_mxcsr: 0,
        };
        // SAFETY: `CASE` and `AREA` are mapped, aligned and writable, and hold nothing Rust knows of.
        // The function is the way in just assembled, which keeps what a C function keeps: registers,
        // stack, direction flag, MXCSR, an empty x87 stack. What the block does is its maker's to answer.
        unsafe {
            case.write_volatile(before);
            if self.kind.vectors {
                area.write_volatile(registers.vectors.clone());
            }
            VECTOR.store(0, Relaxed);
            RUNS.fetch_add(1, Relaxed);
            let enter: extern "C" fn() = transmute(self.ways[self.kind.index()].enter as *const ());
            INSIDE.store(thread(), Relaxed);
            enter();
            INSIDE.store(0, Relaxed);
            let after = case.read_volatile();
            registers.general = after.general;
            registers.flags = after.flags;
            if self.kind.vectors {
                registers.vectors = area.read_volatile();
            }
        }
        match VECTOR.load(Relaxed) {
            0 => End::Through,
            ENDLESS => End::Endless,
            noted => End::Fault {
                vector: (noted - 1) as u8,
                error: ERROR.load(Relaxed) as u32,
                address: if noted == 15 { ADDRESS.load(Relaxed) } else { 0 },
                at: AT.load(Relaxed),
            },
        }
    }
}

const _: () = assert!(size_of::<Vectors>() == VECTOR_BYTES);

impl Drop for Native {
    fn drop(&mut self) {
        let _ = watch(0);
        // SAFETY: restores what signals do by default; the pages are nobody's any more.
        unsafe {
            for signal in SIGNALS.into_iter().chain([libc::SIGALRM]) {
                libc::signal(signal, libc::SIG_DFL);
            }
            let off = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            libc::sigaltstack(&off, ptr::null_mut());
            libc::munmap(self.handler_stack, HANDLER_STACK);
            libc::munmap(DATA as *mut _, (DATA_PAGES * 4096) as usize);
            libc::munmap(CODE as *mut _, CODE_BYTES);
            libc::munmap(WAYS as *mut _, WAYS_BYTES);
        }
        TAKEN.store(false, Relaxed);
    }
}

/// This thread, which is never zero.
fn thread() -> u64 {
    // SAFETY: has no preconditions.
    unsafe { libc::pthread_self() as u64 }
}

/// Maps pages at exactly `address`, where nothing is yet.
fn map(address: u64, bytes: usize, protection: libc::c_int) -> Result<(), ()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: replaces no mapping.
    let got = unsafe { libc::mmap(address as *mut _, bytes, protection, flags, -1, 0) };
    if got as u64 == address { Ok(()) } else { Err(()) }
}

fn protect(address: u64, bytes: usize, protection: libc::c_int) -> Result<(), ()> {
    // SAFETY: only called for pages that `map` has made.
    let failed = unsafe { libc::mprotect(address as *mut _, bytes, protection) };
    if failed == 0 { Ok(()) } else { Err(()) }
}

/// Linux' `struct user_desc` (arch/x86/include/uapi/asm/ldt.h).
#[repr(C)]
struct LocalSegment {
    entry: u32,
    base: u32,
    limit: u32,
    /// Bit 0: 32-bit. Bits 1-2: 0 data, 2 code. Bit 6: usable.
    flags: u32,
}

/// The 16-bit segments: code is entry 0, data and stack entry 1.
fn local_segments() -> Result<(), ()> {
    const USABLE: u32 = 1 << 6;
    const IS_CODE: u32 = 2 << 1;
    let code = LocalSegment { entry: 0, base: CODE as u32, limit: 0xffff, flags: USABLE | IS_CODE };
    let data = LocalSegment { entry: 1, base: DATA as u32, limit: DATA_LIMIT, flags: USABLE };
    for segment in [code, data] {
        const WRITE: libc::c_long = 0x11;
        let size = size_of::<LocalSegment>();
        // SAFETY: reads `size` bytes of a live structure. Nothing in Rust uses a local segment.
        let failed = unsafe { libc::syscall(libc::SYS_modify_ldt, WRITE, &raw const segment, size) };
        if failed as i32 != 0 {
            return Err(());
        }
    }
    Ok(())
}

/// Handlers for what exceptions come as, on a stack of their own: RSP of a block can be anything.
fn handle_signals() -> Result<*mut libc::c_void, ()> {
    // SAFETY: a fresh mapping becomes the alternate stack of this thread; the handlers stay for the
    // whole life of the process and touch only atomics and their context.
    unsafe {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let stack = libc::mmap(ptr::null_mut(), HANDLER_STACK, protection, flags, -1, 0);
        let alternate = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: HANDLER_STACK };
        if stack == libc::MAP_FAILED || libc::sigaltstack(&alternate, ptr::null_mut()) != 0 {
            return Err(());
        }
        for (signal, handler) in SIGNALS
            .into_iter()
            .map(|signal| (signal, exception as *const () as usize))
            .chain([(libc::SIGALRM, watchdog as *const () as usize)])
        {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            if libc::sigaction(signal, &action, ptr::null_mut()) != 0 {
                return Err(());
            }
        }
        Ok(stack)
    }
}

/// Has the watchdog look every so many microseconds; zero stops it.
fn watch(every: libc::suseconds_t) -> Result<(), ()> {
    let interval = libc::timeval { tv_sec: 0, tv_usec: every };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: reads a live structure.
    let failed = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
    if failed == 0 { Ok(()) } else { Err(()) }
}

/// SIGSEGV and its kin.
extern "C" fn exception(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid context, which is this handler's alone.
    unsafe {
        if INSIDE.load(Relaxed) != thread() {
            // Not of a block: a defect of this program, which is to die of it.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        let context = &mut *context.cast::<libc::ucontext_t>();
        let registers = &context.uc_mcontext.gregs;
        let register = |name: libc::c_int| registers[name as usize] as u64;
        ERROR.store(register(libc::REG_ERR), Relaxed);
        ADDRESS.store(register(libc::REG_CR2), Relaxed);
        AT.store(register(libc::REG_RIP), Relaxed);
        go_to_leave(context, register(libc::REG_TRAPNO) + 1);
    }
}

/// SIGALRM: a block that was running when it came last, and still is, does not end.
extern "C" fn watchdog(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let inside = INSIDE.load(Relaxed);
    if inside != 0 && inside != thread() {
        // The timer is the process', and any thread may get its signal: it is for the one in a block.
        // SAFETY: that thread cannot end while it is in a block.
        unsafe { libc::pthread_kill(inside as libc::pthread_t, libc::SIGALRM) };
        return;
    }
    let runs = RUNS.load(Relaxed);
    let same = SEEN.swap(runs, Relaxed) == runs;
    if same && inside != 0 {
        // SAFETY: as in `exception`.
        unsafe {
            let context = &mut *context.cast::<libc::ucontext_t>();
            let at = context.uc_mcontext.gregs[libc::REG_RIP as usize] as u64;
            // Not in our own ways in and out.
            if !(WAYS..WAYS + 4096).contains(&at) {
                go_to_leave(context, ENDLESS);
            }
        }
    }
}

/// Has the interrupted code go on at the way out, in 64-bit mode.
fn go_to_leave(context: &mut libc::ucontext_t, noted: u64) {
    const USER: u64 = 0x002b_0000_0000_0033;
    VECTOR.store(noted, Relaxed);
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = LEAVE.load(Relaxed) as i64;
    // Neither single steps nor alignment checks on our way out.
    registers[libc::REG_EFL as usize] &= !(1 << 8 | 1 << 18);
    // CS, GS, FS and SS share a register here.
    let selectors = registers[libc::REG_CSGSFS as usize] as u64;
    registers[libc::REG_CSGSFS as usize] = (selectors & 0x0000_ffff_ffff_0000 | USER) as i64;
}
