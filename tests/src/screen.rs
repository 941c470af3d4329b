//! What stands on the guest's screen, read back from its pixels.
//!
//! The image draws with a font whose glyphs are known, so a cell is the character whose glyph it is,
//! pixel for pixel, and nothing else counts.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use serde_json::json;

use crate::qmp::Qmp;

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;

/// The rows of text on the screen, without the blanks at their ends, and how many columns there are.
#[derive(Debug)]
pub struct Screen {
    /// From top to bottom.
    pub rows: Vec<String>,
    /// Characters that fit a row.
    pub columns: usize,
}

impl Screen {
    /// Looks at the screen of the guest behind `qmp`. `folder` holds the picture meanwhile.
    ///
    /// # Errors
    /// There is no picture, or something in it is no character.
    pub fn read(qmp: &mut Qmp, folder: &Path) -> Result<Screen> {
        let file = folder.join("screen.ppm");
        qmp.ask("screendump", json!({ "filename": &file }))?;
        Screen::decode(&std::fs::read(&file)?)
    }

    /// Reads a picture in PPM format (P6, 8 bits a colour).
    fn decode(picture: &[u8]) -> Result<Screen> {
        // "P6", width, height, 255, and one blank before the pixels.
        let mut fields = picture.splitn(4, |byte| byte.is_ascii_whitespace());
        let mut text = || Some(std::str::from_utf8(fields.next()?).ok()?.to_owned());
        ensure!(text().as_deref() == Some("P6"), "not a picture");
        let mut number = || -> Option<usize> { text()?.parse().ok() };
        let (width, height) = number().zip(number()).context("no size")?;
        let rest = picture.splitn(4, |byte| byte.is_ascii_whitespace()).nth(3);
        let pixels = rest.and_then(|rest| rest.strip_prefix(b"255\n"));
        let pixels = pixels.context("no pixels")?;
        ensure!(pixels.len() == width * height * 3, "cut short");
        let (across, down) = (get_raster_width(WEIGHT, HEIGHT), HEIGHT.val());
        let columns = width / across;
        let glyphs = glyphs();
        let cell = |row: usize, column: usize| -> Result<char> {
            let line = |y: usize| ((row * down + y) * width + column * across) * 3;
            let lines = (0..down).map(|y| &pixels[line(y)..][..across * 3]);
            let grey: Vec<u8> = lines
                .flat_map(|line| line.iter().copied().step_by(3))
                .collect();
            let found = glyphs.get(&grey).copied();
            found.with_context(|| format!("row {row}, column {column}: no character"))
        };
        let row = |row| -> Result<String> {
            let text: String = (0..columns)
                .map(|at| cell(row, at))
                .collect::<Result<_>>()?;
            Ok(text.trim_end().to_owned())
        };
        let rows = (0..height / down).map(row).collect::<Result<_>>()?;
        Ok(Screen { rows, columns })
    }

    /// Whether `line` stands on the screen, broken where a row ends.
    pub fn shows(&self, line: &str) -> bool {
        let letters: Vec<char> = line.chars().collect();
        let row = |part: &[char]| part.iter().collect::<String>().trim_end().to_owned();
        let parts: Vec<_> = letters.chunks(self.columns).map(row).collect();
        self.rows.windows(parts.len()).any(|rows| rows == parts)
    }
}

/// Each printable character by its pixels, row by row.
fn glyphs() -> HashMap<Vec<u8>, char> {
    let pixels = |letter| {
        let glyph = get_raster(letter, WEIGHT, HEIGHT)?;
        Some((glyph.rows().flatten().copied().collect(), letter))
    };
    (' '..='~').filter_map(pixels).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of `rows`, as the image would draw them.
    fn draw(rows: &[&str], columns: usize) -> Vec<u8> {
        let across = get_raster_width(WEIGHT, HEIGHT);
        let (width, height) = (columns * across + 3, rows.len() * HEIGHT.val() + 5);
        let mut pixels = vec![0; width * height * 3];
        for (row, text) in rows.iter().enumerate() {
            for (column, letter) in text.chars().enumerate() {
                let glyph = get_raster(letter, WEIGHT, HEIGHT).unwrap();
                for (y, line) in glyph.rows().enumerate() {
                    for (x, &grey) in line.iter().enumerate() {
                        let at = (row * HEIGHT.val() + y) * width + column * across + x;
                        pixels[at * 3..at * 3 + 3].fill(grey);
                    }
                }
            }
        }
        [format!("P6\n{width} {height}\n255\n").into_bytes(), pixels].concat()
    }

    #[test]
    fn text_is_read_back_and_broken_lines_are_found() {
        let screen = Screen::decode(&draw(&["first", "a line tha", "t is broken"], 11)).unwrap();
        assert_eq!(screen.rows, ["first", "a line tha", "t is broken"]);
        let screen = Screen::decode(&draw(&["a line that", " is broken", "end"], 11)).unwrap();
        assert!(screen.shows("a line that is broken"));
        assert!(screen.shows("end") && !screen.shows("is broken") && !screen.shows("a line"));
    }

    #[test]
    fn what_is_no_character_is_an_error() {
        let mut picture = draw(&["word"], 4);
        let at = picture.len() / 2;
        picture[at] ^= 0x55;
        picture[at + 1] ^= 0x55;
        picture[at + 2] ^= 0x55;
        assert!(Screen::decode(&picture).is_err());
        assert!(Screen::decode(b"P5\n1 1\n255\n...").is_err());
    }
}
