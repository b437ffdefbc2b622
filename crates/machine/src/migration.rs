//! Live migration: a machine's blocks and chips go, by name, into a machine of another generation
//! or type, whose wiring then decides what they mean.
//!
//! It is a save and a load into another wiring. What was inert on the source (PAM bytes that an
//! emulator stored and ignored) takes effect in the destination, because the map is drawn from the
//! chips' state there.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use warmboot_memory::Memory;

use crate::{Config, ConfigError, Firmware, Generation, Machine, SnapshotError, hooks, snapshot::Taking};

/// Where a machine goes; what is not said stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    /// Machine type.
    pub machine: Option<String>,
    /// Emulator generation, by name.
    pub emulator: Option<String>,
    /// Emulator generation, as a value; wins over `emulator`.
    pub generation: Option<Generation>,
    /// The destination's own BIOS image: what it puts back at resets, where it does so.
    pub firmware: Option<Firmware>,
    /// Whether the hook [`hooks::shadow_bios`] runs, whatever type and generation say.
    pub shadow_bios: Option<bool>,
}

/// Why a machine cannot migrate. Neither side is changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MigrationError {
    /// There is no such destination.
    #[error("the destination cannot be built: {0}")]
    Config(#[from] ConfigError),
    /// A block has another size there.
    #[error("RAM block `{block}` has {sent} bytes on the source and {size} in the destination")]
    BlockSize {
        /// Its name.
        block: String,
        /// Bytes on the source.
        sent: u64,
        /// Bytes in the destination.
        size: u64,
    },
    /// The state cannot be taken.
    #[error(transparent)]
    State(#[from] SnapshotError),
    /// A hook found blocks it cannot work on.
    #[error("after migration, {0}")]
    Hook(#[from] hooks::HookError),
}

/// Something that did not fit.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Unfit {
    /// The destination has no such block: its bytes are lost.
    BlockNotThere {
        /// Its name.
        block: String,
        /// Bytes.
        size: u64,
    },
    /// The source has no such block: it stays as the destination made it.
    BlockNotSent {
        /// Its name.
        block: String,
        /// Bytes.
        size: u64,
    },
    /// The destination has no such chip.
    ChipNotThere {
        /// Its name.
        chip: String,
    },
    /// The source has no such chip: it stays as at power-on.
    ChipNotSent {
        /// Its name.
        chip: String,
    },
    /// The chip's state has another layout: it stays as at power-on.
    ChipVersion {
        /// Its name.
        chip: String,
        /// Version that came.
        sent: u32,
        /// Version it knows.
        known: u32,
    },
    /// A chip of that name is another chip there: it stays as at power-on.
    ChipState {
        /// Its name.
        chip: String,
        /// What could not be understood.
        reason: String,
    },
    /// A register cannot take the value that came.
    Register {
        /// The chip.
        chip: String,
        /// Path of names and indices into its state.
        register: String,
        /// What came.
        sent: Value,
        /// What it holds.
        kept: Value,
    },
    /// The processor is another model.
    Model {
        /// The source's.
        sent: String,
        /// The destination's.
        kept: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::BlockNotThere { block, size } => {
                write!(f, "RAM block `{block}` ({size} bytes): the destination has none")
            }
            Unfit::BlockNotSent { block, size } => {
                write!(f, "RAM block `{block}` ({size} bytes): the source has none")
            }
            Unfit::ChipNotThere { chip } => write!(f, "chip `{chip}`: the destination has none"),
            Unfit::ChipNotSent { chip } => write!(f, "chip `{chip}`: the source has none"),
            Unfit::ChipVersion { chip, sent, known } => {
                write!(f, "chip `{chip}`: its state has version {sent}, the destination knows {known}")
            }
            Unfit::ChipState { chip, reason } => {
                write!(f, "chip `{chip}` is another one in the destination: {reason}")
            }
            Unfit::Register { chip, register, sent, kept } => {
                write!(f, "chip `{chip}`: `{register}` came as {sent} and is {kept}")
            }
            Unfit::Model { sent, kept } => write!(f, "the processor was a `{sent}` and is a `{kept}`"),
        }
    }
}

/// What a migration did.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct MigrationReport {
    /// Machine type and generation of the source.
    pub from: (String, String),
    /// Machine type and generation of the destination.
    pub to: (String, String),
    /// RAM blocks that went over, with their sizes.
    pub blocks: Vec<(String, u64)>,
    /// What did not fit.
    pub unfit: Vec<Unfit>,
    /// What post-load hooks said.
    pub messages: Vec<String>,
}

impl Machine {
    /// The machine in another wiring, where it goes on; this one is left as it is. Time and count go
    /// on absolutely, and the host's logs go along.
    ///
    /// # Errors
    /// When there is no such destination, a block has another size there, or a post-load hook cannot
    /// do its work.
    pub fn migrate(&mut self, to: &Destination) -> Result<(Machine, MigrationReport), MigrationError> {
        let mut there = Machine::new(&self.config_for(to))?;
        let name =
            |machine: &Machine| (machine.machine_type().name.into(), machine.board.generation.name.into());
        let mut report = MigrationReport { from: name(self), to: name(&there), ..MigrationReport::default() };
        carry_blocks(&self.board.memory, &mut there.board.memory, &mut report)?;
        there.take(self.carry()?, Taking::WhatFits(&mut report.unfit))?;
        let attachments = &mut there.board.attachments;
        attachments.debug_log.clone_from(&self.board.attachments.debug_log);
        attachments.serial_log.clone_from(&self.board.attachments.serial_log);
        attachments.parallel_log.clone_from(&self.board.attachments.parallel_log);
        there.board.drive_lines_again(&self.board.wires);

        for hook in hooks::ALL {
            if (hook.wanted)(&there, to) {
                (hook.run)(&mut there.board.memory, &mut report.messages)?;
            }
        }
        there.refresh();
        there.continue_history(self);
        Ok((there, report))
    }

    fn config_for(&self, to: &Destination) -> Config {
        let Destination { machine, emulator, generation, firmware, shadow_bios: _ } = to;
        let mut config = Config::clone(&self.config);
        if let Some(machine) = machine {
            config.machine.clone_from(machine);
        }
        if let Some(emulator) = emulator {
            config.emulator.clone_from(emulator);
            config.generation = None;
        }
        if generation.is_some() {
            config.generation = *generation;
        }
        if let Some(firmware) = firmware {
            config.firmware = firmware.clone();
        }
        config
    }
}

/// Copies every block that both have.
fn carry_blocks(from: &Memory, to: &mut Memory, report: &mut MigrationReport) -> Result<(), MigrationError> {
    for block in from.blocks() {
        let Some(id) = to.block(block.name) else {
            report.unfit.push(Unfit::BlockNotThere { block: block.name.into(), size: block.size });
            continue;
        };
        let size = to.info(id).size;
        if size != block.size {
            return Err(MigrationError::BlockSize { block: block.name.into(), sent: block.size, size });
        }
        to.clear_block(id);
        for (page, bytes) in from.touched_pages(block.id) {
            let Some(frame) = to.frame_of(id, page) else { continue };
            if bytes.iter().any(|byte| *byte != 0) {
                to.frame_mut(frame).copy_from_slice(bytes);
            }
        }
        report.blocks.push((block.name.into(), size));
    }
    for block in to.blocks().filter(|block| from.block(block.name).is_none()) {
        report.unfit.push(Unfit::BlockNotSent { block: block.name.into(), size: block.size });
    }
    Ok(())
}
