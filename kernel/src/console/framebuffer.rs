//! Text on a linear framebuffer. The characters are kept in RAM; video memory, slow to read,
//! is only written, and only where a character changes. A full screen moves up by a quarter at
//! once, so that a long log does not redraw the screen for every line.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use bootloader_api::info::{FrameBuffer, FrameBufferInfo};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;

pub(super) struct Screen {
    pixels: &'static mut [u8],
    info: FrameBufferInfo,
    columns: usize,
    rows: usize,
    /// What is on the screen, row by row.
    text: Vec<u8>,
    row: usize,
    column: usize,
}

impl Screen {
    /// Takes the screen over and clears it; `None` if not even one character fits.
    pub(super) fn new(framebuffer: FrameBuffer) -> Option<Self> {
        let info = framebuffer.info();
        let (columns, rows) = (
            info.width / get_raster_width(WEIGHT, HEIGHT),
            info.height / HEIGHT.val(),
        );
        let pixels = framebuffer.into_buffer();
        let bytes = info
            .height
            .checked_mul(info.stride)?
            .checked_mul(info.bytes_per_pixel)?;
        if columns == 0 || rows == 0 || info.width > info.stride || bytes > pixels.len() {
            return None;
        }
        pixels.fill(0);
        Some(Self {
            pixels,
            info,
            columns,
            rows,
            text: vec![b' '; columns * rows],
            row: 0,
            column: 0,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.new_line(),
                b'\r' => self.column = 0,
                _ => {
                    if self.column == self.columns {
                        self.new_line();
                    }
                    self.put(self.row, self.column, byte);
                    self.column += 1;
                }
            }
        }
    }

    fn new_line(&mut self) {
        self.column = 0;
        self.row += 1;
        if self.row == self.rows {
            let by = self.rows.div_ceil(4);
            for row in 0..self.rows {
                for column in 0..self.columns {
                    let from = (row + by) * self.columns + column;
                    let byte = self.text.get(from).copied().unwrap_or(b' ');
                    self.put(row, column, byte);
                }
            }
            self.row -= by;
        }
    }

    /// Shows `byte`, if something else is there.
    fn put(&mut self, row: usize, column: usize, byte: u8) {
        let cell = &mut self.text[row * self.columns + column];
        if *cell == byte {
            return;
        }
        *cell = byte;
        let shown =
            get_raster(byte.into(), WEIGHT, HEIGHT).or_else(|| get_raster('?', WEIGHT, HEIGHT));
        let Some(glyph) = shown else { return };
        let depth = self.info.bytes_per_pixel;
        for (y, intensities) in glyph.rows().enumerate() {
            let line = (row * HEIGHT.val() + y) * self.info.stride + column * glyph.width();
            let pixels = &mut self.pixels[line * depth..];
            // Grey is the same in every pixel format.
            for (pixel, &intensity) in pixels.chunks_exact_mut(depth).zip(intensities) {
                pixel.fill(intensity);
            }
        }
    }
}
