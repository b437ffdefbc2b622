//! Loops that do nothing but fill memory, taken many rounds at a time.
//!
//! Without a string instruction, `while (n) s[--n] = c` is five instructions a byte, and most of what
//! firmware does at power-on is clearing memory so. A block that is such a loop is recognised when it is
//! built; rounds in which nothing else can happen than that bytes of one page change are done at once,
//! with the registers, flags and count of instructions that the rounds would have left. All others run
//! as any block does.

use iced_x86::Code;

use crate::{Bus, Core, Lowered, Op, Operand, OperandKind, width::Width};

/// Instructions of one round: TEST, JE, DEC, MOV, JMP.
const ROUND: u64 = 5;

/// The parts of a loop. The value is a register that stays as it is, or an immediate.
struct Fill<'a> {
    /// The register that counts down and is the index.
    count: u8,
    /// The MOV.
    store: &'a Op,
    /// Whether the count has 64 bits.
    wide: bool,
}

/// What `ops` do, if they are such a loop.
fn parts<B: Bus>(ops: &[Lowered<B>]) -> Option<Fill<'_>> {
    let [test, leave, down, store, back] = ops else { return None };
    let wide = match (test.op.code, down.op.code) {
        (Code::Test_rm32_r32, Code::Dec_r32 | Code::Dec_rm32) => false,
        (Code::Test_rm64_r64, Code::Dec_rm64) => true,
        _ => return None,
    };
    let (count, memory) = (down.op.dst.number, store.op.memory);
    if down.op.dst.kind != OperandKind::Register {
        return None;
    }
    let other = match (memory.index == count && memory.scale == 0, memory.base == count) {
        (true, false) => memory.base,
        (false, true) if memory.scale == 0 => memory.index,
        _ => return None,
    };
    let value_stays = match (store.op.code, store.op.src.kind) {
        (Code::Mov_rm8_r8, OperandKind::Register | OperandKind::HighByte) => store.op.src.number != count,
        (Code::Mov_rm8_imm8, OperandKind::Immediate) => true,
        _ => false,
    };
    let equal = matches!(leave.op.code, Code::Je_rel8_16 | Code::Je_rel8_32 | Code::Je_rel8_64);
    let begins = test.next.wrapping_sub(u64::from(test.op.length));
    let is_loop = test.op.dst == down.op.dst
        && test.op.src == down.op.dst
        && equal
        && store.op.dst == Operand::MEMORY
        && other != count
        && value_stays
        && matches!(back.op.code, Code::Jmp_rel8_16 | Code::Jmp_rel8_32 | Code::Jmp_rel8_64)
        && back.op.immediate == begins;
    is_loop.then_some(Fill { count, store: &store.op, wide })
}

/// Whether `ops` are a loop for [`rounds`].
pub(crate) fn is_loop<B: Bus>(ops: &[Lowered<B>]) -> bool {
    parts(ops).is_some()
}

/// At the beginning of a loop: does as many rounds as need no look at anything, perhaps none.
#[cold]
pub(crate) fn rounds<B: Bus>(core: &mut Core, bus: &mut B, ops: &[Lowered<B>]) {
    let Some(Fill { count, store, wide }) = parts(ops) else { return };
    // Who observes instructions wants each.
    if B::OBSERVES {
        return;
    }
    let register = core.register(count);
    let before = if wide { register } else { u64::from(register as u32) };
    let budget = core.budget_end.saturating_sub(core.retired) / ROUND;
    // The store's address is that of the round's count, one less than the register has now.
    core.set_register(count, before.wrapping_sub(1));
    let highest = core.effective_address(store);
    core.set_register(count, register);
    let most = before.min(budget).min(highest.saturating_add(1));
    let value = match store.src.kind {
        OperandKind::HighByte => core.register(store.src.number) >> 8,
        OperandKind::Register => core.register(store.src.number),
        OperandKind::Immediate => store.immediate,
        _ => return,
    } as u8;
    if most == 0 {
        return;
    }
    let Some(below) = core.page_up_to(bus, store.memory.segment, highest) else { return };
    let length = below.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    let first = below.len() - length;
    below.get_mut(first..).unwrap_or_default().fill(value);
    let after = before - length as u64;
    core.set_register(count, after);
    core.retired += ROUND * length as u64;
    // The last round's TEST cleared the carry, which its DEC left alone.
    if wide {
        core.state.flags.set_logic(after + 1);
        core.state.flags.set_dec(after);
    } else {
        core.state.flags.set_logic(u32::from_u64(after + 1));
        core.state.flags.set_dec(u32::from_u64(after));
    }
}
