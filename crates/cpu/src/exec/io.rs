//! IN, OUT, INS, OUTS (Intel SDM vol. 1, chapter 19).

use iced_x86::{Code, Instruction};

use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    op::Repeat,
    state::{cr4, gpr, segment},
    width::Width,
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::In_AL_imm8 => in_immediate::<u8, B>,
        Code::In_AX_imm8 => in_immediate::<u16, B>,
        Code::In_EAX_imm8 => in_immediate::<u32, B>,
        Code::In_AL_DX => in_dx::<u8, B>,
        Code::In_AX_DX => in_dx::<u16, B>,
        Code::In_EAX_DX => in_dx::<u32, B>,
        Code::Out_imm8_AL => out_immediate::<u8, B>,
        Code::Out_imm8_AX => out_immediate::<u16, B>,
        Code::Out_imm8_EAX => out_immediate::<u32, B>,
        Code::Out_DX_AL => out_dx::<u8, B>,
        Code::Out_DX_AX => out_dx::<u16, B>,
        Code::Out_DX_EAX => out_dx::<u32, B>,
        Code::Insb_m8_DX => ins::<u8, B>,
        Code::Insw_m16_DX => ins::<u16, B>,
        Code::Insd_m32_DX => ins::<u32, B>,
        Code::Outsb_DX_m8 => outs::<u8, B>,
        Code::Outsw_DX_m16 => outs::<u16, B>,
        Code::Outsd_DX_m32 => outs::<u32, B>,
        _ => return None,
    })
}

const IO_MAP_BASE: u64 = 0x66;

/// IOPL, then the I/O permission bitmap of a 32-bit TSS (19.5).
fn permit<B: Bus>(core: &mut Core, bus: &mut B, port: u16, size: u8) -> Exec {
    let state = &core.state;
    if !state.protected() || (!state.v8086() && state.cpl <= state.flags.iopl()) {
        return Ok(());
    }
    let fault = Exception::general_protection(0);
    let tr = state.tr;
    if tr.rights & 0x8d != 0x89 || tr.limit < 0x67 {
        return Err(fault);
    }
    let base = core.read_system(bus, tr.base.wrapping_add(IO_MAP_BASE), 2)?;
    let at = base + u64::from(port >> 3);
    if at + 1 > u64::from(tr.limit) {
        return Err(fault);
    }
    let bits = core.read_system(bus, tr.base.wrapping_add(at), 2)?;
    let wanted = ((1_u64 << size) - 1) << (port & 7);
    if bits & wanted == 0 { Ok(()) } else { Err(fault) }
}

/// I/O breakpoints: DR7 type 2 with CR4.DE (vol. 3B, 17.2.4).
fn breakpoint(core: &mut Core, port: u16, size: u8) {
    let control = core.state.dr[7];
    if control & 0xff == 0 || core.state.cr4 & cr4::DE == 0 {
        return;
    }
    for index in 0..4_u32 {
        let enabled = (control >> (2 * index)) & 3 != 0;
        let kind = (control >> (16 + 4 * index)) & 3;
        let length = ((control >> (18 + 4 * index)) & 3) + 1;
        let start = core.state.dr[index as usize] & 0xffff_ffff & !(length - 1);
        let first = u64::from(port);
        if enabled && kind == 2 && first < start + length && start < first + u64::from(size) {
            core.debug_hits |= 1 << index;
        }
    }
}

fn read_port<W: Width, B: Bus>(core: &mut Core, bus: &mut B, port: u16) -> W {
    let size = W::BYTES as u8;
    breakpoint(core, port, size);
    core.device_touched();
    W::from_u64(u64::from(bus.port_read(core.cycle(), port, size)))
}

fn write_port<W: Width, B: Bus>(core: &mut Core, bus: &mut B, port: u16, value: W) {
    let size = W::BYTES as u8;
    breakpoint(core, port, size);
    core.device_touched();
    bus.port_write(core.cycle(), port, size, value.to_u64() as u32);
}

fn input<W: Width, B: Bus>(core: &mut Core, bus: &mut B, port: u16) -> Exec {
    permit(core, bus, port, W::BYTES as u8)?;
    let value: W = read_port(core, bus, port);
    let rax = core.register(gpr::RAX);
    let merged = match W::BYTES {
        1 => (rax & !0xff) | value.to_u64(),
        2 => (rax & !0xffff) | value.to_u64(),
        _ => value.to_u64(),
    };
    core.set_register(gpr::RAX, merged);
    Ok(())
}

fn output<W: Width, B: Bus>(core: &mut Core, bus: &mut B, port: u16) -> Exec {
    permit(core, bus, port, W::BYTES as u8)?;
    let value = W::from_u64(core.register(gpr::RAX));
    write_port(core, bus, port, value);
    Ok(())
}

fn dx(core: &Core) -> u16 {
    core.register(gpr::RDX) as u16
}

fn in_immediate<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    input::<W, B>(core, bus, op.immediate as u8 as u16)
}

fn in_dx<W: Width, B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    let port = dx(core);
    input::<W, B>(core, bus, port)
}

fn out_immediate<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    output::<W, B>(core, bus, op.immediate as u8 as u16)
}

fn out_dx<W: Width, B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    let port = dx(core);
    output::<W, B>(core, bus, port)
}

/// Replaces the part of a register that the address size uses.
fn set_part(core: &mut Core, index: u8, value: u64, op: &Op) {
    let mask = op.memory.mask;
    let kept = if mask == 0xffff { core.register(index) & !mask } else { 0 };
    core.set_register(index, kept | (value & mask));
}

fn part(core: &Core, index: u8, op: &Op) -> u64 {
    core.register(index) & op.memory.mask
}

/// Moves an index register by one element, down when DF is set.
fn step<W: Width>(core: &mut Core, index: u8, op: &Op) {
    let size = W::BYTES as i64;
    let delta = if core.state.flags.direction() { -size } else { size };
    let value = core.register(index).wrapping_add_signed(delta);
    set_part(core, index, value, op);
}

/// One iteration is one instruction: each touches a port, so the machine looks after each.
fn repeated<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, once: fn(&mut Core, &mut B, &Op) -> Exec) -> Exec {
    if op.repeat == Repeat::None {
        return once(core, bus, op);
    }
    let count = part(core, gpr::RCX, op);
    if count == 0 {
        return Ok(());
    }
    once(core, bus, op)?;
    set_part(core, gpr::RCX, count - 1, op);
    if count > 1 {
        core.repeat_instruction();
    }
    Ok(())
}

fn ins<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    repeated(core, bus, op, ins_once::<W, B>)
}

fn ins_once<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let port = dx(core);
    permit(core, bus, port, W::BYTES as u8)?;
    let offset = part(core, gpr::RDI, op);
    let place = core.update_at::<W, B>(bus, segment::ES, offset)?;
    let value: W = read_port(core, bus, port);
    core.place_store(bus, &place, value);
    step::<W>(core, gpr::RDI, op);
    Ok(())
}

fn outs<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    repeated(core, bus, op, outs_once::<W, B>)
}

fn outs_once<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let port = dx(core);
    permit(core, bus, port, W::BYTES as u8)?;
    let offset = part(core, gpr::RSI, op);
    let value: W = core.load_at(bus, op.memory.segment, offset)?;
    write_port(core, bus, port, value);
    step::<W>(core, gpr::RSI, op);
    Ok(())
}
