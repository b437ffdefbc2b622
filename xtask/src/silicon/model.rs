//! Our processor as the host's is: what some model offers, and the host has too.

use warmboot_cpu::{
    Features, Model,
    models::{Leaf, MAX, QEMU64},
};
use warmboot_silicon::cpuid;

/// Leaves that say what there is (function, index).
const FEATURES: [(u32, u32); 5] = [(1, 0), (7, 0), (0xd, 0), (0xd, 1), (0x8000_0001, 0)];

/// Components of the XSAVE area beyond the legacy region that we know: AVX and PKRU.
const COMPONENTS: [u32; 2] = [2, 9];

/// A model with the features of `max` and `qemu64` that the host has, and with its vendor.
pub fn of_host() -> &'static Model {
    let [_, vendor @ ..] = cpuid(0, 0);
    let offered = |model: &Model, function, index| {
        let leaf = |leaf: &&Leaf| leaf.function == function && leaf.index.is_none_or(|own| own == index);
        model.leaves.iter().find(leaf).map_or([0; 4], |leaf| leaf.values)
    };
    let mut leaves = vec![Leaf { function: 0, index: None, values: [0xd, vendor[0], vendor[1], vendor[2]] }];
    for (function, index) in FEATURES {
        let (max, other) = (offered(&MAX, function, index), offered(&QEMU64, function, index));
        let host = cpuid(function, index);
        let mut values = [0, 1, 2, 3].map(|register| (max[register] | other[register]) & host[register]);
        if function == 1 {
            // Family, model and stepping, and the line CLFLUSH flushes, are no features.
            (values[0], values[1]) = (max[0], max[1]);
        }
        leaves.push(Leaf { function, index: Some(index), values });
    }
    // Where they are is the host's own.
    for index in COMPONENTS {
        leaves.push(Leaf { function: 0xd, index: Some(index), values: cpuid(0xd, index) });
    }
    let features = Features::offered(&leaves);
    Box::leak(Box::new(Model {
        name: "host",
        about: "what some model offers and the host has",
        leaves: Box::leak(leaves.into()),
        features,
        physical_bits: MAX.physical_bits,
        cr4: MAX.cr4,
        save_map: MAX.save_map,
    }))
}
