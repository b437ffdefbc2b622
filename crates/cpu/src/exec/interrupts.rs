//! INT n, INT3, INTO, INT1, BOUND (Intel SDM vol. 2A).

use iced_x86::{Code, Instruction};

use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    access::attention,
    exceptions::{Event, Source},
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Int_imm8 => int,
        Code::Int3 => int3,
        Code::Into => into,
        Code::Int1 => int1,
        Code::Bound_r16_m1616 | Code::Bound_r32_m3232 => bound,
        _ => return None,
    })
}

fn enter<B: Bus>(core: &mut Core, bus: &mut B, event: Event) -> Exec {
    core.attention |= attention::NO_TRAP | attention::END_BLOCK;
    core.enter_handler(bus, event)
}

/// In v8086 mode with IOPL below 3 only the redirection bitmap lets it through.
fn int<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let vector = op.immediate as u8;
    if core.redirected(bus, vector)? {
        core.attention |= attention::NO_TRAP | attention::END_BLOCK;
        return Ok(());
    }
    if core.state.v8086() && core.state.flags.iopl() < 3 {
        return Err(Exception::general_protection(0));
    }
    enter(core, bus, Event::software(vector))
}

fn int3<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    enter(core, bus, Event::software(3))
}

fn into<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    if core.state.flags.overflow() {
        return enter(core, bus, Event::software(4));
    }
    Ok(())
}

/// As a hardware #DB: no privilege check, nothing in DR6.
fn int1<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    enter(core, bus, Event { vector: 1, error: None, source: Source::Processor })
}

fn bound<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let at = core.effective_address(op);
    let segment = op.memory.segment;
    let inside = if op.operand_size == 2 {
        let index = core.load::<u16, B>(bus, op, op.dst)? as i16;
        let low = core.load_at::<u16, B>(bus, segment, at)? as i16;
        let high = core.load_at::<u16, B>(bus, segment, at + 2)? as i16;
        low <= index && index <= high
    } else {
        let index = core.load::<u32, B>(bus, op, op.dst)? as i32;
        let low = core.load_at::<u32, B>(bus, segment, at)? as i32;
        let high = core.load_at::<u32, B>(bus, segment, at + 4)? as i32;
        low <= index && index <= high
    };
    if inside { Ok(()) } else { Err(Exception::BOUND) }
}
