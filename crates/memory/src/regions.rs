//! The region tree: who answers at which address, in the words of QEMU's memory API.
//!
//! A region has a size and, once mapped, a place in one parent. What a container does not cover
//! with an enabled child, it does not answer: a region of lower priority below shows through there.

use std::sync::Arc;

use thiserror::Error;

use crate::BlockId;

/// A region of one [`Regions`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionId(u32);

/// What is known of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Bytes, up to 2^64.
    pub size: u128,
    /// Offset within its parent.
    pub offset: u64,
    /// Priority among its siblings.
    pub priority: i32,
    /// Shown at all.
    pub enabled: bool,
    /// Writes below it are dropped.
    pub read_only: bool,
}

/// Why the tree refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RegionError {
    /// A region has one parent; a second view of it is an alias.
    #[error("region `{child}` is already mapped in `{parent}`: map an alias of it instead")]
    Mapped {
        /// The region.
        child: String,
        /// Where it is.
        parent: String,
    },
    /// A region would contain itself.
    #[error("region `{inner}` would contain itself through `{outer}`")]
    Cycle {
        /// Where it would be put.
        outer: String,
        /// What would be put there.
        inner: String,
    },
    /// An operation for another kind of region.
    #[error("region `{name}` is not {expected}")]
    Kind {
        /// The region.
        name: String,
        /// What it should have been.
        expected: &'static str,
    },
}

/// What a region shows where no child of it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Nothing.
    Container,
    /// Bytes of a block.
    Ram { block: BlockId, offset: u64 },
    /// A device.
    Device { tag: u32 },
    /// Part of another region.
    Alias { target: RegionId, offset: u64 },
    /// One region for reads, another for writes.
    Split { read: RegionId, write: RegionId },
}

#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: Arc<str>,
    pub(crate) size: u128,
    pub(crate) content: Content,
    pub(crate) enabled: bool,
    pub(crate) read_only: bool,
    pub(crate) priority: i32,
    pub(crate) offset: u64,
    parent: Option<RegionId>,
    /// Highest priority first; among equals the last mapped first.
    pub(crate) children: Vec<RegionId>,
}

/// A forest of regions; each root is an address space.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    regions: Vec<Region>,
    version: u64,
}

impl Regions {
    /// No regions.
    #[must_use]
    pub fn new() -> Regions {
        Regions::default()
    }

    /// A region that only has children. `size` is in bytes, at most 2^64, here and below.
    pub fn container(&mut self, name: &str, size: u128) -> RegionId {
        self.add(name, size, Content::Container, false)
    }

    /// `size` bytes of a block from `block_offset` on. Writes are dropped if `read_only` (QEMU's `rom`).
    pub fn ram(
        &mut self,
        name: &str,
        block: BlockId,
        block_offset: u64,
        size: u128,
        read_only: bool,
    ) -> RegionId {
        self.add(name, size, Content::Ram { block, offset: block_offset }, read_only)
    }

    /// A window of `size` bytes into `target` from `offset` on.
    pub fn alias(&mut self, name: &str, target: RegionId, offset: u64, size: u128) -> RegionId {
        self.add(name, size, Content::Alias { target, offset }, false)
    }

    /// A device's registers; `tag` comes back in [`crate::Target::Device`]. It may have children,
    /// which cover it: as with the I/O space's own region, what they leave is the device's.
    pub fn mmio(&mut self, name: &str, size: u128, tag: u32) -> RegionId {
        self.add(name, size, Content::Device { tag }, false)
    }

    /// Reads see `read_region`, writes go to `write_region`, both from their offset 0 on.
    ///
    /// PAM's modes 1 and 2 on hardware. Where one side shows nothing, that side of a region of
    /// lower priority shows through. (RAM whose writes are dropped is a read-only alias instead.)
    pub fn split(
        &mut self,
        name: &str,
        read_region: RegionId,
        write_region: RegionId,
        size: u128,
    ) -> RegionId {
        self.add(name, size, Content::Split { read: read_region, write: write_region }, false)
    }

    /// Puts `child` into `parent` at `offset`. Above siblings of equal or lower priority.
    ///
    /// # Errors
    /// If it is mapped already or would contain itself.
    pub fn map(
        &mut self,
        parent: RegionId,
        child: RegionId,
        offset: u64,
        priority: i32,
    ) -> Result<(), RegionError> {
        if let Some(old) = self.get(child).parent {
            return Err(RegionError::Mapped { child: self.name(child), parent: self.name(old) });
        }
        if matches!(self.get(parent).content, Content::Alias { .. } | Content::Split { .. }) {
            return Err(RegionError::Kind {
                name: self.name(parent),
                expected: "a container, RAM or a device",
            });
        }
        self.refuse_cycle(parent, child)?;
        let region = self.get_mut(child);
        (region.parent, region.offset, region.priority) = (Some(parent), offset, priority);
        self.insert_child(parent, child);
        Ok(())
    }

    /// Takes a region out of its parent, if it is in one.
    pub fn unmap(&mut self, child: RegionId) {
        if let Some(parent) = self.get_mut(child).parent.take() {
            self.remove_child(parent, child);
        }
    }

    /// Shows or hides a region and all below it.
    pub fn set_enabled(&mut self, region: RegionId, enabled: bool) {
        if self.get(region).enabled != enabled {
            self.get_mut(region).enabled = enabled;
            self.version += 1;
        }
    }

    /// Drops writes to a region and all below it, or lets them through.
    pub fn set_read_only(&mut self, region: RegionId, read_only: bool) {
        if self.get(region).read_only != read_only {
            self.get_mut(region).read_only = read_only;
            self.version += 1;
        }
    }

    /// Moves a region within its parent. Having moved, it counts as the last mapped.
    pub fn set_offset(&mut self, region: RegionId, offset: u64) {
        if self.get(region).offset == offset {
            return;
        }
        self.get_mut(region).offset = offset;
        self.version += 1;
        if let Some(parent) = self.get(region).parent {
            self.remove_child(parent, region);
            self.insert_child(parent, region);
        }
    }

    /// Points an alias elsewhere.
    ///
    /// # Errors
    /// If `alias` is none, or would contain itself.
    pub fn set_alias_target(
        &mut self,
        alias: RegionId,
        target: RegionId,
        offset: u64,
    ) -> Result<(), RegionError> {
        if !matches!(self.get(alias).content, Content::Alias { .. }) {
            return Err(RegionError::Kind { name: self.name(alias), expected: "an alias" });
        }
        self.refuse_cycle(alias, target)?;
        self.set_content(alias, Content::Alias { target, offset });
        Ok(())
    }

    /// Gives a split region other sources.
    ///
    /// # Errors
    /// If `split` is none, or would contain itself.
    pub fn set_split_targets(
        &mut self,
        split: RegionId,
        read: RegionId,
        write: RegionId,
    ) -> Result<(), RegionError> {
        if !matches!(self.get(split).content, Content::Split { .. }) {
            return Err(RegionError::Kind { name: self.name(split), expected: "a split region" });
        }
        self.refuse_cycle(split, read)?;
        self.refuse_cycle(split, write)?;
        self.set_content(split, Content::Split { read, write });
        Ok(())
    }

    /// What is known of a region.
    #[must_use]
    pub fn info(&self, region: RegionId) -> RegionInfo<'_> {
        let Region { name, size, offset, priority, enabled, read_only, .. } = self.get(region);
        RegionInfo {
            name,
            size: *size,
            offset: *offset,
            priority: *priority,
            enabled: *enabled,
            read_only: *read_only,
        }
    }

    /// Grows with every change that can change a flat view: equal versions, equal views.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, region: RegionId) -> &Region {
        &self.regions[region.0 as usize]
    }

    fn get_mut(&mut self, region: RegionId) -> &mut Region {
        &mut self.regions[region.0 as usize]
    }

    fn name(&self, region: RegionId) -> String {
        self.get(region).name.to_string()
    }

    fn add(&mut self, name: &str, size: u128, content: Content, read_only: bool) -> RegionId {
        self.regions.push(Region {
            name: name.into(),
            size: size.min(1 << 64),
            content,
            enabled: true,
            read_only,
            priority: 0,
            offset: 0,
            parent: None,
            children: Vec::new(),
        });
        RegionId((self.regions.len() - 1) as u32)
    }

    fn set_content(&mut self, region: RegionId, content: Content) {
        if self.get(region).content != content {
            self.get_mut(region).content = content;
            self.version += 1;
        }
    }

    fn insert_child(&mut self, parent: RegionId, child: RegionId) {
        let priority = self.get(child).priority;
        let place = self.get(parent).children.partition_point(|&other| self.get(other).priority > priority);
        self.get_mut(parent).children.insert(place, child);
        self.version += 1;
    }

    fn remove_child(&mut self, parent: RegionId, child: RegionId) {
        self.get_mut(parent).children.retain(|&other| other != child);
        self.version += 1;
    }

    /// An error if `outer` can be reached from `inner`: then `inner` must not go into `outer`.
    fn refuse_cycle(&self, outer: RegionId, inner: RegionId) -> Result<(), RegionError> {
        let mut seen = vec![false; self.regions.len()];
        let mut open = vec![inner];
        while let Some(region) = open.pop() {
            if region == outer {
                return Err(RegionError::Cycle { outer: self.name(outer), inner: self.name(inner) });
            }
            if std::mem::replace(&mut seen[region.0 as usize], true) {
                continue;
            }
            let Region { content, children, .. } = self.get(region);
            open.extend(children);
            match *content {
                Content::Alias { target, .. } => open.push(target),
                Content::Split { read, write } => open.extend([read, write]),
                Content::Container | Content::Ram { .. } | Content::Device { .. } => {}
            }
        }
        Ok(())
    }
}
