//! Execution, one file per instruction group. A new instruction is a row in its group's table.

// The groups, in the order they are asked.
mod arithmetic;
mod bit_fields;
mod bits;
mod branch;
mod cache_control;
mod checksum;
mod decimal;
mod extended_state;
mod far;
mod flag_bits;
mod flag_image;
mod interrupts;
mod io;
mod logic;
mod model_specific;
mod moves;
mod multiply;
mod operands;
mod pairs;
mod quick;
mod random;
mod segments;
mod shift;
mod stack;
mod strings;
mod system;
mod system_calls;
mod vector;
mod x87;

use iced_x86::Instruction;

use crate::{Bus, Features, Handler};

pub(crate) use pairs::pair;
pub(crate) use quick::{Effect, Quick, Tried, drop_dead_flags, try_op};

/// What a group answers to an instruction.
type Group<B> = fn(&Instruction) -> Option<Handler<B>>;

/// The handler of `instruction`, or `None` when a processor with these features does not have it (#UD).
#[must_use]
pub fn lower<B: Bus>(instruction: &Instruction, features: Features) -> Option<Handler<B>> {
    if !features.allow(instruction) {
        return None;
    }
    let groups: &[Group<B>] = &[
        arithmetic::handler,
        bit_fields::handler,
        bits::handler,
        branch::handler,
        cache_control::handler,
        checksum::handler,
        decimal::handler,
        extended_state::handler,
        far::handler,
        flag_bits::handler,
        flag_image::handler,
        interrupts::handler,
        io::handler,
        logic::handler,
        model_specific::handler,
        moves::handler,
        multiply::handler,
        random::handler,
        segments::handler,
        shift::handler,
        stack::handler,
        strings::handler,
        system::handler,
        system_calls::handler,
        vector::handler,
        x87::handler,
    ];
    groups.iter().find_map(|group| group(instruction))
}
