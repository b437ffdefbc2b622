//! Vectors as arrays of lanes.

/// One element of a vector.
pub(super) trait Lane: Copy {
    const BYTES: usize;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, bytes: &mut [u8]);
}

macro_rules! lane {
    ($($type:ty)*) => {
        $(
            impl Lane for $type {
                const BYTES: usize = size_of::<$type>();

                #[inline(always)]
                fn read(bytes: &[u8]) -> Self {
                    <$type>::from_le_bytes(bytes.try_into().unwrap_or_default())
                }

                #[inline(always)]
                fn write(self, bytes: &mut [u8]) {
                    bytes.copy_from_slice(&self.to_le_bytes());
                }
            }
        )*
    };
}

lane!(u8 i8 u16 i16 u32 i32 u64 i64);

/// Lane `index`, counted modulo their number.
#[inline(always)]
pub(super) fn get<T: Lane, const N: usize>(vector: &[u8; N], index: usize) -> T {
    let at = (index * T::BYTES) % N;
    T::read(&vector[at..at + T::BYTES])
}

/// Replaces lane `index`, counted modulo their number.
#[inline(always)]
pub(super) fn set<T: Lane, const N: usize>(vector: &mut [u8; N], index: usize, value: T) {
    let at = (index * T::BYTES) % N;
    value.write(&mut vector[at..at + T::BYTES]);
}

/// A vector made lane by lane.
#[inline(always)]
pub(super) fn from_fn<T: Lane, const N: usize>(mut make: impl FnMut(usize) -> T) -> [u8; N] {
    let mut result = [0; N];
    for (index, bytes) in result.chunks_exact_mut(T::BYTES).enumerate() {
        make(index).write(bytes);
    }
    result
}

/// `change` of each pair of lanes.
#[inline(always)]
pub(super) fn each<T: Lane, const N: usize>(a: [u8; N], b: [u8; N], change: impl Fn(T, T) -> T) -> [u8; N] {
    from_fn(|index| change(get(&a, index), get(&b, index)))
}
