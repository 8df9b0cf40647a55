//! What workloads' files hold: the same in each run.

use std::fs;
use std::io::Write as _;
use std::path::Path;

/// Numbers that are the same in each run: xorshift.
pub struct Random(u64);

impl Random {
    /// Returns numbers that begin with `seed`, which is not nothing.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns the next one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns the next one below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit.max(1)
    }
}

/// How content compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texture {
    /// Not at all, as what is compressed already.
    Random,
    /// As text and sources do: to less than half.
    Text,
    /// As programs do: to about a third.
    Words,
    /// To almost nothing, as logs of one message.
    Repeated,
}

/// Writes what is asked for.
pub struct Writer {
    random: Random,
    words: Vec<String>,
    /// What was written last of text, to be repeated now and then.
    paragraphs: Vec<String>,
}

/// Words of the language that [`Texture::Text`] is written in.
const VOCABULARY: usize = 20_000;
/// Paragraphs that come again: far more than gzip looks back, less than zstd.
const REMEMBERED: usize = 12_000;

impl Writer {
    /// Returns one whose content `seed` decides.
    pub fn new(seed: u64) -> Writer {
        let mut random = Random::new(seed);
        let words = (0..VOCABULARY).map(|_| word(&mut random)).collect();
        Writer {
            random,
            words,
            paragraphs: Vec::new(),
        }
    }

    /// Writes a file of `bytes` bytes.
    pub fn file(&mut self, path: &Path, bytes: usize, texture: Texture) {
        let content = self.content(bytes, texture);
        let mut file = fs::File::create(path).expect("a file");
        file.write_all(&content).expect("its content");
    }

    /// Returns `bytes` bytes.
    pub fn content(&mut self, bytes: usize, texture: Texture) -> Vec<u8> {
        let mut content = Vec::with_capacity(bytes + 512);
        while content.len() < bytes {
            match texture {
                Texture::Random => content.extend(self.random.next().to_le_bytes()),
                Texture::Words => content.extend(self.machine_word().to_le_bytes()),
                Texture::Text => content.extend(self.paragraph().bytes()),
                Texture::Repeated => {
                    content.extend(b"2026-01-01 00:00:00 INFO request served in 3 ms\n");
                }
            }
        }
        content.truncate(bytes);
        content
    }

    fn machine_word(&mut self) -> u64 {
        let number = self.random.next();
        match number % 8 {
            0 => number,
            _ => (number >> 32) % 4096 * 0x9E37_79B9,
        }
    }

    fn paragraph(&mut self) -> String {
        if self.paragraphs.len() == REMEMBERED && self.random.below(4) == 0 {
            let again = self.random.below(REMEMBERED);
            return self.paragraphs[again].clone();
        }
        let mut text = String::with_capacity(400);
        for _ in 0..40 {
            // The product of two is small far more often than large, as with words.
            let (first, second) = (self.random.below(VOCABULARY), self.random.below(VOCABULARY));
            text += &self.words[first * second / VOCABULARY];
            text.push(' ');
        }
        text.push('\n');
        if self.paragraphs.len() < REMEMBERED {
            self.paragraphs.push(text.clone());
        } else {
            let place = self.random.below(REMEMBERED);
            self.paragraphs[place].clone_from(&text);
        }
        text
    }
}

fn word(random: &mut Random) -> String {
    let length = 2 + random.below(9);
    let letters = (0..length).map(|_| char::from(b"etaoinshrdlucmfwypvbgk"[random.below(22)]));
    letters.collect()
}

/// Writes `count` files of `bytes` bytes below `directory`, ten in each directory and a
/// hundred directories in each.
pub fn write_tree(directory: &Path, count: usize, bytes: usize) {
    let mut writer = Writer::new(1);
    for number in 0..count {
        let folder = directory.join(format!("d{}/e{}", number / 1_000, number / 10 % 100));
        if number % 10 == 0 {
            fs::create_dir_all(&folder).expect("a directory");
        }
        writer.file(&folder.join(format!("file{number}")), bytes, Texture::Text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_of_one_seed_is_the_same() {
        for texture in [
            Texture::Random,
            Texture::Text,
            Texture::Words,
            Texture::Repeated,
        ] {
            let content = |seed| Writer::new(seed).content(10_001, texture);
            assert_eq!(content(1).len(), 10_001);
            assert_eq!(content(1), content(1), "{texture:?}");
            let differs = content(1) != content(2);
            assert_eq!(differs, texture != Texture::Repeated, "{texture:?}");
        }
    }
}
