//! MOVS, CMPS, SCAS, LODS, STOS, alone and repeated (Intel SDM vol. 2, REP).
//!
//! Each iteration is one retired instruction and an interrupt boundary. An execution of the op does
//! one iteration, or as many as the budget allows when they stay within pages whose translation is
//! known and nothing can notice the difference; if the count is not used up the op runs again.
//! The source is DS:SI or an override, the destination ES:DI; the address size is the type
//! parameter A.

use iced_x86::{Code, Instruction, OpKind};

use super::operands::write_part;
use crate::{
    Bus, Core, Exec, Frame, Handler, Op,
    op::Repeat,
    state::{gpr, segment},
    tlb::{Access, chunks},
    width::Width,
};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.code() {
        Code::Movsb_m8_m8 => by_address::<B, u8, Movs>(instruction),
        Code::Movsw_m16_m16 => by_address::<B, u16, Movs>(instruction),
        Code::Movsd_m32_m32 => by_address::<B, u32, Movs>(instruction),
        Code::Movsq_m64_m64 => by_address::<B, u64, Movs>(instruction),
        Code::Cmpsb_m8_m8 => by_address::<B, u8, Cmps>(instruction),
        Code::Cmpsw_m16_m16 => by_address::<B, u16, Cmps>(instruction),
        Code::Cmpsd_m32_m32 => by_address::<B, u32, Cmps>(instruction),
        Code::Cmpsq_m64_m64 => by_address::<B, u64, Cmps>(instruction),
        Code::Scasb_AL_m8 => by_address::<B, u8, Scas>(instruction),
        Code::Scasw_AX_m16 => by_address::<B, u16, Scas>(instruction),
        Code::Scasd_EAX_m32 => by_address::<B, u32, Scas>(instruction),
        Code::Scasq_RAX_m64 => by_address::<B, u64, Scas>(instruction),
        Code::Lodsb_AL_m8 => by_address::<B, u8, Lods>(instruction),
        Code::Lodsw_AX_m16 => by_address::<B, u16, Lods>(instruction),
        Code::Lodsd_EAX_m32 => by_address::<B, u32, Lods>(instruction),
        Code::Lodsq_RAX_m64 => by_address::<B, u64, Lods>(instruction),
        Code::Stosb_m8_AL => by_address::<B, u8, Stos>(instruction),
        Code::Stosw_m16_AX => by_address::<B, u16, Stos>(instruction),
        Code::Stosd_m32_EAX => by_address::<B, u32, Stos>(instruction),
        Code::Stosq_m64_RAX => by_address::<B, u64, Stos>(instruction),
        _ => None,
    }
}

fn by_address<B: Bus, W: Width, Operation: StringOperation>(instruction: &Instruction) -> Option<Handler<B>> {
    let kinds = [instruction.op0_kind(), instruction.op1_kind()];
    if kinds.iter().any(|kind| matches!(kind, OpKind::MemorySegSI | OpKind::MemoryESDI)) {
        Some(string::<B, W, u16, Operation>)
    } else if kinds.iter().any(|kind| matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI)) {
        Some(string::<B, W, u32, Operation>)
    } else if kinds.iter().any(|kind| matches!(kind, OpKind::MemorySegRSI | OpKind::MemoryESRDI)) {
        Some(string::<B, W, u64, Operation>)
    } else {
        None
    }
}

trait StringOperation {
    /// CMPS and SCAS also end when ZF says so.
    const COMPARES: bool = false;

    /// One iteration, index registers included; a fault leaves no trace.
    fn step<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec;

    /// Up to `wanted` iterations that cannot fault, and how many they were; 0 when that cannot be
    /// told quickly.
    fn bulk<B: Bus, W: Width, A: Width>(_core: &mut Core, _bus: &mut B, _op: &Op, _wanted: u64) -> u64 {
        0
    }
}

fn string<B: Bus, W: Width, A: Width, Operation: StringOperation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    if op.repeat == Repeat::None {
        return Operation::step::<B, W, A>(core, bus, op);
    }
    let count = index::<A>(core, gpr::RCX);
    if count == 0 {
        return Ok(());
    }
    let wanted = core.budget().min(count);
    let mut done = 0;
    if wanted > 1 {
        done = Operation::bulk::<B, W, A>(core, bus, op, wanted);
    }
    if done == 0 {
        Operation::step::<B, W, A>(core, bus, op)?;
        done = 1;
    }
    let left = count.wrapping_sub(done);
    write_part(core, gpr::RCX, A::from_u64(left));
    if done > 1 {
        core.retired_many(done);
    }
    let ended = Operation::COMPARES && core.state.flags.zero() != (op.repeat == Repeat::WhileEqual);
    if left != 0 && !ended {
        core.repeat_instruction();
    }
    Ok(())
}

/// A register, cut to the address size.
#[inline(always)]
fn index<A: Width>(core: &Core, register: u8) -> u64 {
    A::from_u64(core.register(register)).to_u64()
}

/// Moves an index register by `count` elements in DF's direction.
#[inline(always)]
fn advance<W: Width, A: Width>(core: &mut Core, register: u8, count: u64) {
    let distance = count.wrapping_mul(W::BYTES as u64);
    let before = core.register(register);
    let after = if core.state.flags.direction() {
        before.wrapping_sub(distance)
    } else {
        before.wrapping_add(distance)
    };
    write_part(core, register, A::from_u64(after));
}

/// A run of elements within one page of RAM.
#[derive(Clone, Copy)]
struct Span {
    frame: Frame,
    /// Offset in the frame of the first element, in DF's direction.
    first: usize,
    /// Elements.
    count: usize,
}

impl Span {
    /// Offset of the lowest byte of `count` elements.
    fn lowest<W: Width>(self, count: usize, down: bool) -> usize {
        if down { self.first - (count - 1) * W::BYTES } else { self.first }
    }
}

/// How many elements from `segment:offset` on, at most `wanted`, surely lie in one page of RAM,
/// within the segment's limit and without wrapping. `None`: ask one by one.
fn span<W: Width, A: Width>(
    core: &Core,
    access: Access,
    segment: u8,
    offset: u64,
    wanted: u64,
) -> Option<Span> {
    let size = W::BYTES as u64;
    let (linear, limit) = match core.linear_64(segment, offset) {
        Some(linear) => (linear, u64::MAX),
        None => in_segment(core, access, segment, offset)?,
    };
    let highest = limit.min(A::ones().to_u64());
    let in_page = linear & 0xfff;
    // What is left in the segment, and in the page, the first element included.
    let fits = highest.checked_sub(offset)?.saturating_add(1).min(4096 - in_page) / size;
    let count = if fits == 0 {
        return None;
    } else if core.state.flags.direction() {
        (offset.min(in_page) / size + 1).min(wanted)
    } else {
        fits.min(wanted)
    };
    let slot = core.tlb.find(access, linear, core.context)?;
    let span = Span { frame: Frame(slot.frame), first: in_page as usize, count: count as usize };
    let lowest = span.lowest::<W>(span.count, core.state.flags.direction());
    let unwatched = access != Access::Write || slot.watched & chunks(lowest, span.count * W::BYTES) == 0;
    unwatched.then_some(span)
}

/// The linear address of `segment:offset` outside 64-bit mode, and the segment's limit.
fn in_segment(core: &Core, access: Access, segment: u8, offset: u64) -> Option<(u64, u64)> {
    let descriptor = core.state.segments.get(usize::from(segment))?;
    let allowed = match access {
        Access::Write => descriptor.writable(),
        Access::Read | Access::Fetch => descriptor.readable(),
    };
    if !allowed || !descriptor.present() || descriptor.expand_down() {
        return None;
    }
    Some((descriptor.base.wrapping_add(offset) & 0xffff_ffff, u64::from(descriptor.limit)))
}

struct Movs;

impl StringOperation for Movs {
    #[inline(always)]
    fn step<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let from = index::<A>(core, gpr::RSI);
        let value: W = core.load_at(bus, op.memory.segment, from)?;
        let to = index::<A>(core, gpr::RDI);
        core.store_at(bus, segment::ES, to, value)?;
        advance::<W, A>(core, gpr::RSI, 1);
        advance::<W, A>(core, gpr::RDI, 1);
        Ok(())
    }

    fn bulk<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, op: &Op, wanted: u64) -> u64 {
        let from = index::<A>(core, gpr::RSI);
        let Some(from) = span::<W, A>(core, Access::Read, op.memory.segment, from, wanted) else {
            return 0;
        };
        let to = index::<A>(core, gpr::RDI);
        let Some(to) = span::<W, A>(core, Access::Write, segment::ES, to, from.count as u64) else {
            return 0;
        };
        copy::<B, W>(bus, from, to, core.state.flags.direction());
        let done = to.count as u64;
        advance::<W, A>(core, gpr::RSI, done);
        advance::<W, A>(core, gpr::RDI, done);
        done
    }
}

/// Copies `to.count` elements, one after the other as far as anyone can tell.
fn copy<B: Bus, W: Width>(bus: &mut B, from: Span, to: Span, down: bool) {
    let length = to.count * W::BYTES;
    let source = from.lowest::<W>(to.count, down);
    let target = to.lowest::<W>(to.count, down);
    if from.frame != to.frame {
        let mut buffer = [0; 256];
        let mut at = 0;
        while at < length {
            let part = (length - at).min(buffer.len());
            if let (Some(buffer), Some(bytes)) =
                (buffer.get_mut(..part), bus.frame(from.frame).get(source + at..source + at + part))
            {
                buffer.copy_from_slice(bytes);
            }
            if let (Some(buffer), Some(bytes)) =
                (buffer.get(..part), bus.frame_mut(to.frame).get_mut(target + at..target + at + part))
            {
                bytes.copy_from_slice(buffer);
            }
            at += part;
        }
        return;
    }
    let page = bus.frame_mut(to.frame);
    // An element written may be the source of a later one: then a pattern spreads.
    let spreads = if down {
        target < source && target + length > source
    } else {
        source < target && source + length > target
    };
    if !spreads {
        page.copy_within(source..source + length, target);
        return;
    }
    for element in 0..to.count {
        let at = if down { to.count - 1 - element } else { element } * W::BYTES;
        if let Some(value) = W::read_from(page, source + at) {
            value.write_to(page, target + at);
        }
    }
}

struct Stos;

impl StringOperation for Stos {
    #[inline(always)]
    fn step<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
        let value = W::from_u64(core.register(gpr::RAX));
        let to = index::<A>(core, gpr::RDI);
        core.store_at(bus, segment::ES, to, value)?;
        advance::<W, A>(core, gpr::RDI, 1);
        Ok(())
    }

    fn bulk<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, _op: &Op, wanted: u64) -> u64 {
        let to = index::<A>(core, gpr::RDI);
        let Some(to) = span::<W, A>(core, Access::Write, segment::ES, to, wanted) else {
            return 0;
        };
        let value = W::from_u64(core.register(gpr::RAX));
        let lowest = to.lowest::<W>(to.count, core.state.flags.direction());
        let page = bus.frame_mut(to.frame);
        if let Some(bytes) = page.get_mut(lowest..lowest + to.count * W::BYTES) {
            for element in bytes.chunks_exact_mut(W::BYTES) {
                value.write_to(element, 0);
            }
        }
        advance::<W, A>(core, gpr::RDI, to.count as u64);
        to.count as u64
    }
}

struct Lods;

impl StringOperation for Lods {
    #[inline(always)]
    fn step<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let from = index::<A>(core, gpr::RSI);
        let value: W = core.load_at(bus, op.memory.segment, from)?;
        write_part(core, gpr::RAX, value);
        advance::<W, A>(core, gpr::RSI, 1);
        Ok(())
    }
}

/// Compares pairs until one ends the repetition; gives how many there were, and the last one.
fn compare_run<W: Width>(
    count: usize,
    repeat: Repeat,
    pair: impl Fn(usize) -> Option<(W, W)>,
) -> Option<(u64, W, W)> {
    let mut last = None;
    for element in 0..count {
        let Some((a, b)) = pair(element) else {
            break;
        };
        last = Some((element as u64 + 1, a, b));
        if (a == b) != (repeat == Repeat::WhileEqual) {
            break;
        }
    }
    last
}

/// Offset in the frame of element `number`.
#[inline(always)]
fn place<W: Width>(span: Span, number: usize, down: bool) -> usize {
    let distance = number * W::BYTES;
    if down { span.first.wrapping_sub(distance) } else { span.first + distance }
}

struct Scas;

impl StringOperation for Scas {
    const COMPARES: bool = true;

    #[inline(always)]
    fn step<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
        let to = index::<A>(core, gpr::RDI);
        let b: W = core.load_at(bus, segment::ES, to)?;
        let a = W::from_u64(core.register(gpr::RAX));
        core.state.flags.set_sub(a, b, a.wrapping_sub(b));
        advance::<W, A>(core, gpr::RDI, 1);
        Ok(())
    }

    fn bulk<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, op: &Op, wanted: u64) -> u64 {
        let to = index::<A>(core, gpr::RDI);
        let Some(to) = span::<W, A>(core, Access::Read, segment::ES, to, wanted) else {
            return 0;
        };
        let down = core.state.flags.direction();
        let accumulator = W::from_u64(core.register(gpr::RAX));
        let page = bus.frame(to.frame);
        let run = compare_run(to.count, op.repeat, |element| {
            Some((accumulator, W::read_from(page, place::<W>(to, element, down))?))
        });
        let Some((done, a, b)) = run else {
            return 0;
        };
        core.state.flags.set_sub(a, b, a.wrapping_sub(b));
        advance::<W, A>(core, gpr::RDI, done);
        done
    }
}

struct Cmps;

impl StringOperation for Cmps {
    const COMPARES: bool = true;

    #[inline(always)]
    fn step<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let from = index::<A>(core, gpr::RSI);
        let a: W = core.load_at(bus, op.memory.segment, from)?;
        let to = index::<A>(core, gpr::RDI);
        let b: W = core.load_at(bus, segment::ES, to)?;
        core.state.flags.set_sub(a, b, a.wrapping_sub(b));
        advance::<W, A>(core, gpr::RSI, 1);
        advance::<W, A>(core, gpr::RDI, 1);
        Ok(())
    }

    fn bulk<B: Bus, W: Width, A: Width>(core: &mut Core, bus: &mut B, op: &Op, wanted: u64) -> u64 {
        let from = index::<A>(core, gpr::RSI);
        let Some(from) = span::<W, A>(core, Access::Read, op.memory.segment, from, wanted) else {
            return 0;
        };
        let to = index::<A>(core, gpr::RDI);
        let Some(to) = span::<W, A>(core, Access::Read, segment::ES, to, from.count as u64) else {
            return 0;
        };
        let down = core.state.flags.direction();
        let (first, second) = (bus.frame(from.frame), bus.frame(to.frame));
        let run = compare_run(to.count, op.repeat, |element| {
            let a = W::read_from(first, place::<W>(from, element, down))?;
            Some((a, W::read_from(second, place::<W>(to, element, down))?))
        });
        let Some((done, a, b)) = run else {
            return 0;
        };
        core.state.flags.set_sub(a, b, a.wrapping_sub(b));
        advance::<W, A>(core, gpr::RSI, done);
        advance::<W, A>(core, gpr::RDI, done);
        done
    }
}
