//! Records as rows of 64-bit words: one definition gives the struct, its size, its offsets and both conversions.

/// A type that has a fixed place of whole words in a record.
pub trait Field: Copy {
    /// How many words it takes.
    const WORDS: usize;
    /// Writes itself into exactly that many words.
    fn store(self, words: &mut [u64]);
    /// Reads itself from exactly that many words.
    fn load(words: &[u64]) -> Self;
}

impl Field for u64 {
    const WORDS: usize = 1;
    fn store(self, words: &mut [u64]) {
        words[0] = self;
    }
    fn load(words: &[u64]) -> Self {
        words[0]
    }
}

impl Field for i64 {
    const WORDS: usize = 1;
    fn store(self, words: &mut [u64]) {
        words[0] = self as u64;
    }
    fn load(words: &[u64]) -> Self {
        words[0] as i64
    }
}

impl Field for i128 {
    const WORDS: usize = 2;
    fn store(self, words: &mut [u64]) {
        words[0] = self as u64;
        words[1] = (self >> 64) as u64;
    }
    fn load(words: &[u64]) -> Self {
        (i128::from(words[1] as i64) << 64) | i128::from(words[0])
    }
}

impl<const N: usize> Field for [u64; N] {
    const WORDS: usize = N;
    fn store(self, words: &mut [u64]) {
        words.copy_from_slice(&self);
    }
    fn load(words: &[u64]) -> Self {
        core::array::from_fn(|index| words[index])
    }
}

/// UTF-8 text of at most `8 * N` bytes, padded with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u64; N]);

impl<const N: usize> Default for Text<N> {
    /// No text.
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Text<N> {
    /// Keeps as many whole characters of `text` as fit.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(8 * N);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = text.as_bytes()[..end].iter().copied();
        Self(core::array::from_fn(|_| {
            u64::from_le_bytes(core::array::from_fn(|_| bytes.next().unwrap_or(0)))
        }))
    }
}

impl<const N: usize> core::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bytes: Vec<u8> =
            self.0.iter().flat_map(|word| word.to_le_bytes()).take_while(|b| *b != 0).collect();
        f.pad(&String::from_utf8_lossy(&bytes))
    }
}

impl<const N: usize> Field for Text<N> {
    const WORDS: usize = N;
    fn store(self, words: &mut [u64]) {
        self.0.store(words);
    }
    fn load(words: &[u64]) -> Self {
        Self(Field::load(words))
    }
}

/// Defines a record: fields stand one after another in the order given, without padding.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)+ }

        impl $crate::record::Field for $name {
            const WORDS: usize = $name::WORDS;
            fn store(self, words: &mut [u64]) {
                words.copy_from_slice(&self.to_words());
            }
            fn load(words: &[u64]) -> Self {
                Self::from_words(&core::array::from_fn(|index| words[index]))
            }
        }

        impl $name {
            /// Its name, and the name and type of each field: what [`crate::LAYOUT_HASH`] is made of.
            pub const DEFINITION: &str = concat!(
                stringify!($name), "{", $(stringify!($field), ":", stringify!($type), ","),+ , "}"
            );

            /// How many words the record takes.
            pub const WORDS: usize = 0 $(+ <$type as $crate::record::Field>::WORDS)+;

            /// The name and first word of each field.
            pub fn layout() -> Vec<(&'static str, usize)> {
                let mut at = 0;
                vec![$({
                    let place = (stringify!($field), at);
                    at += <$type as $crate::record::Field>::WORDS;
                    let _ = at;
                    place
                }),+]
            }

            pub(crate) fn to_words(self) -> [u64; Self::WORDS] {
                let mut words = [0; Self::WORDS];
                let mut rest = &mut words[..];
                $(
                    let (place, tail) = rest.split_at_mut(<$type as $crate::record::Field>::WORDS);
                    $crate::record::Field::store(self.$field, place);
                    rest = tail;
                )+
                let _ = rest;
                words
            }

            pub(crate) fn from_words(words: &[u64; Self::WORDS]) -> Self {
                let mut rest = &words[..];
                $(
                    let (place, tail) = rest.split_at(<$type as $crate::record::Field>::WORDS);
                    let $field = $crate::record::Field::load(place);
                    rest = tail;
                )+
                let _ = rest;
                Self { $($field),+ }
            }
        }
    };
}
pub(crate) use record;
