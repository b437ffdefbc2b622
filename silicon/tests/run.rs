//! Code of each size runs on the processor, and what stops it is told.

use warmboot_silicon::{
    End, Native, Registers,
    layout::{CODE, DATA, Mode, WRITABLE},
};

const AT: usize = 0x40;

/// Runs `bytes` in `mode` with RAX = 1, RCX = 2 and RBX at the data that can be written.
fn run(native: &mut Native, mode: Mode, bytes: &[u8]) -> (End, Registers) {
    let mut registers = Registers { flags: 0x202, ..Registers::default() };
    registers.general[0] = 1;
    registers.general[1] = 2;
    registers.general[3] = DATA - mode.data_base() + WRITABLE * 4096;
    native.load(mode, AT, bytes, true);
    let end = native.run(&mut registers);
    (end, registers)
}

/// There is one processor: one test.
#[test]
fn every_size_of_code() {
    let mut native = match Native::new(&[0x5a; 4096]) {
        Ok(native) => native,
        Err(reason) => return println!("{reason}: nothing was run"),
    };
    for mode in Mode::ALL {
        let fault = |vector, error, address, at: u64| End::Fault {
            vector,
            error,
            address,
            at: CODE - mode.code_base() + AT as u64 + at,
        };
        // ADD EAX, ECX; in 16-bit code ADD AX, CX.
        let (end, registers) = run(&mut native, mode, &[0x01, 0xc8]);
        assert_eq!((end, registers.general[0]), (End::Through, 3), "{mode:?}");
        // INC byte [BX] or [RBX].
        native.data()[0] = 0x7f;
        let bytes: &[u8] = if mode == Mode::Sixteen { &[0xfe, 0x07] } else { &[0xfe, 0x03] };
        let (end, registers) = run(&mut native, mode, bytes);
        assert_eq!((end, native.data()[0]), (End::Through, 0x80), "{mode:?}");
        assert_ne!(registers.flags & 0x800, 0, "{mode:?}: overflow");
        // FLD1: the stack has one register.
        let (end, registers) = run(&mut native, mode, &[0xd9, 0xe8]);
        assert_eq!((end, registers.vectors.st(0)), (End::Through, (0x3fff, 1 << 63)), "{mode:?}");
        assert_eq!(registers.vectors.valid(), 0x80);
        assert_eq!(run(&mut native, mode, &[0x0f, 0x0b]).0, fault(6, 0, 0, 0), "{mode:?}");
        assert_eq!(run(&mut native, mode, &[0x90, 0xf4]).0, fault(13, 0, 0, 1), "{mode:?}");
        // XOR ECX, ECX; DIV ECX.
        assert_eq!(run(&mut native, mode, &[0x31, 0xc9, 0xf7, 0xf1]).0, fault(0, 0, 0, 2), "{mode:?}");
    }
    // MOV byte [20004000h], 0 and [20008000h], 0: a page that can only be read, and none.
    for (page, error) in [(0x40, 7), (0x80, 6)] {
        let (end, _) = run(&mut native, Mode::SixtyFour, &[0xc6, 0x04, 0x25, 0, page, 0, 0x20, 0]);
        let address = DATA + u64::from(page) * 0x100;
        assert_eq!(end, End::Fault { vector: 14, error, address, at: CODE + AT as u64 });
    }
    // JMP $.
    assert_eq!(run(&mut native, Mode::SixtyFour, &[0xeb, 0xfe]).0, End::Endless);
    drop(native);
    assert!(Native::new(&[0; 4096]).is_ok(), "it can be made again");
}
