//! The registers of an IBM VGA behind its ports.

use super::{State, Vga};
use crate::Effects;

/// Bits of the index registers.
pub(super) const INDEX_SEQUENCER: u8 = 0x07;
pub(super) const INDEX_CRT: u8 = 0x1f;
pub(super) const INDEX_GRAPHICS: u8 = 0x0f;
/// With palette address source.
pub(super) const INDEX_ATTRIBUTE: u8 = 0x3f;
/// Palette address source: the display has the palette, not the processor.
pub(super) const PAS: u8 = 1 << 5;

/// Bits that the registers have; the others read zero.
const SEQUENCER: [u8; 5] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GRAPHICS: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const ATTRIBUTE: [u8; 21] = [
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, //
    0xef, 0xff, 0x3f, 0x0f, 0x0f,
];
const MISCELLANEOUS: u8 = 0xef;
/// Miscellaneous output bit 0: the CRT controller is at 3Dxh, not at 3Bxh.
const COLOUR: u8 = 1 << 0;
/// CRT controller 11h bit 7: registers 0 to 7 are read-only.
const PROTECT: u8 = 1 << 7;
/// What of register 7 is not: line compare's bit 8.
const LINE_COMPARE_8: u8 = 1 << 4;

/// Leaves out bits that no register has.
pub(super) fn keep_bits(state: &mut State) {
    let mask = |registers: &mut [u8], masks: &[u8]| {
        registers.iter_mut().zip(masks).for_each(|(register, mask)| *register &= mask);
    };
    mask(&mut state.sequencer, &SEQUENCER);
    mask(&mut state.graphics, &GRAPHICS);
    mask(&mut state.attribute, &ATTRIBUTE);
    state.miscellaneous &= MISCELLANEOUS;
    state.dac.component %= 3;
    state.dac.colours.resize(256, [0; 3]);
}

impl Vga {
    /// The port that `port` is if the CRT controller is where it is addressed; `None` elsewhere.
    fn present(&self, port: u16) -> Option<u16> {
        let colour = self.state.miscellaneous & COLOUR != 0;
        match port & 0xfff0 {
            0x3b0 if !colour => Some(port + 0x20),
            0x3d0 if colour => Some(port),
            0x3c0 => Some(port),
            _ => None,
        }
    }

    pub(super) fn port_read(&mut self, port: u16, fx: &mut Effects) -> u64 {
        let Some(port) = self.present(port) else { return 0xff };
        let value = match port {
            0x3c0 => self.state.attribute_index,
            0x3c1 => {
                let index = usize::from(self.state.attribute_index & 0x1f);
                self.state.attribute.get(index).copied().unwrap_or(0)
            }
            // Input status 0: no interrupt, no sense switch.
            0x3c2 => 0,
            0x3c4 => self.state.sequencer_index,
            0x3c5 => {
                let index = usize::from(self.state.sequencer_index);
                self.state.sequencer.get(index).copied().unwrap_or(0)
            }
            0x3c6 => self.state.dac.mask,
            0x3c7 => {
                if self.state.dac.reads {
                    3
                } else {
                    0
                }
            }
            0x3c8 => self.state.dac.write_index,
            0x3c9 => self.dac_read(),
            0x3ca => self.state.feature_control,
            0x3cc => self.state.miscellaneous,
            0x3ce => self.state.graphics_index,
            0x3cf => {
                let index = usize::from(self.state.graphics_index);
                self.state.graphics.get(index).copied().unwrap_or(0)
            }
            0x3d4 => self.state.crt_index,
            0x3d5 => {
                let index = usize::from(self.state.crt_index);
                self.state.crt.get(index).copied().unwrap_or(0)
            }
            0x3da => {
                self.state.attribute_data = false;
                self.input_status(fx.now())
            }
            _ => {
                fx.note("display adapter: no port to read", u64::from(port), 0);
                0
            }
        };
        u64::from(value)
    }

    pub(super) fn port_write(&mut self, port: u16, value: u8, fx: &mut Effects) {
        let present = self.present(port);
        let state = &mut self.state;
        match present {
            Some(0x3c0) => self.attribute_write(value),
            Some(0x3c2) => state.miscellaneous = value & MISCELLANEOUS,
            Some(0x3c4) => state.sequencer_index = value & INDEX_SEQUENCER,
            Some(0x3c5) => {
                let index = usize::from(state.sequencer_index);
                if let (Some(register), Some(mask)) = (state.sequencer.get_mut(index), SEQUENCER.get(index)) {
                    *register = value & mask;
                }
            }
            Some(0x3c6) => state.dac.mask = value,
            Some(0x3c7) => {
                (state.dac.read_index, state.dac.component, state.dac.reads) = (value, 0, true);
            }
            Some(0x3c8) => {
                (state.dac.write_index, state.dac.component, state.dac.reads) = (value, 0, false);
            }
            Some(0x3c9) => self.dac_write(value),
            Some(0x3ce) => state.graphics_index = value & INDEX_GRAPHICS,
            Some(0x3cf) => {
                let index = usize::from(state.graphics_index);
                if let (Some(register), Some(mask)) = (state.graphics.get_mut(index), GRAPHICS.get(index)) {
                    *register = value & mask;
                }
            }
            Some(0x3d4) => state.crt_index = value & INDEX_CRT,
            Some(0x3d5) => self.crt_write(value, fx),
            Some(0x3da) => state.feature_control = value & 0x10,
            Some(_) => fx.note("display adapter: no port to write", u64::from(port), u64::from(value)),
            None => {}
        }
    }

    /// Index and data in turns; the palette can be written only while the display does not have it.
    fn attribute_write(&mut self, value: u8) {
        let state = &mut self.state;
        let data = state.attribute_data;
        state.attribute_data = !data;
        if !data {
            state.attribute_index = value & INDEX_ATTRIBUTE;
            return;
        }
        let index = usize::from(state.attribute_index & 0x1f);
        let taken = index >= 16 || state.attribute_index & PAS == 0;
        if let (true, Some(register), Some(mask)) =
            (taken, state.attribute.get_mut(index), ATTRIBUTE.get(index))
        {
            *register = value & mask;
        }
    }

    fn crt_write(&mut self, value: u8, fx: &mut Effects) {
        let index = usize::from(self.state.crt_index);
        let protected = self.state.crt[0x11] & PROTECT != 0 && index <= 7;
        match self.state.crt.get_mut(index) {
            Some(register) if protected && index == 7 => {
                *register = *register & !LINE_COMPARE_8 | value & LINE_COMPARE_8;
            }
            Some(_) if protected => {}
            Some(register) => *register = value,
            None => fx.note("CRT controller: no register", index as u64, u64::from(value)),
        }
    }

    fn dac_read(&mut self) -> u8 {
        let dac = &mut self.state.dac;
        let colour = dac.colours.get(usize::from(dac.read_index)).copied().unwrap_or_default();
        let value = colour.get(usize::from(dac.component)).copied().unwrap_or(0);
        dac.component = (dac.component + 1) % 3;
        if dac.component == 0 {
            dac.read_index = dac.read_index.wrapping_add(1);
        }
        value
    }

    /// A colour changes when its third component comes.
    fn dac_write(&mut self, value: u8) {
        let wide = self.dac_is_wide();
        let dac = &mut self.state.dac;
        if let Some(component) = dac.incoming.get_mut(usize::from(dac.component)) {
            *component = if wide { value } else { value & 0x3f };
        }
        dac.component = (dac.component + 1) % 3;
        if dac.component == 0 {
            if let Some(colour) = dac.colours.get_mut(usize::from(dac.write_index)) {
                *colour = dac.incoming;
            }
            dac.write_index = dac.write_index.wrapping_add(1);
        }
    }
}
