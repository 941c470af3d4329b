//! The screen (`src/console/framebuffer.rs`) on the host: what stands in video memory is the end of
//! the text, however long that was.

extern crate alloc;

#[allow(unreachable_pub, reason = "the image's own module, tested on the host")]
#[path = "../src/console/framebuffer.rs"]
mod framebuffer;

use bootloader_api::info::{FrameBuffer, FrameBufferInfo, PixelFormat};
use framebuffer::Screen;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const COLUMNS: usize = 20;
const ROWS: usize = 8;
const HEIGHT: usize = 16;

fn across() -> usize {
    get_raster_width(FontWeight::Regular, RasterHeight::Size16)
}

/// A screen with pixels to spare at its right and lower edges, and its video memory.
fn screen(depth: usize) -> (Screen, &'static [u8], FrameBufferInfo) {
    let (width, height) = (COLUMNS * across() + 2, ROWS * HEIGHT + 3);
    let stride = width + 5;
    let info = FrameBufferInfo {
        byte_len: stride * height * depth,
        width,
        height,
        pixel_format: PixelFormat::Rgb,
        bytes_per_pixel: depth,
        stride,
    };
    let memory: &'static mut [u8] = vec![0xA5; info.byte_len].leak();
    let start = memory.as_mut_ptr();
    // SAFETY: leaked, so it lives for ever; it is looked at only between two writes.
    let (framebuffer, seen) = unsafe {
        (
            FrameBuffer::new(start as u64, info),
            std::slice::from_raw_parts(start, info.byte_len),
        )
    };
    (Screen::new(framebuffer).expect("large enough"), seen, info)
}

/// Video memory holds `rows` and nothing else.
#[track_caller]
fn assert_shows(memory: &[u8], info: FrameBufferInfo, rows: &[&str]) {
    let mut expected = vec![0; info.byte_len];
    for (row, text) in rows.iter().enumerate() {
        for (column, letter) in text.chars().enumerate() {
            let glyph = get_raster(letter, FontWeight::Regular, RasterHeight::Size16);
            let glyph = glyph.expect("a character of the font");
            for (y, line) in glyph.rows().enumerate() {
                for (x, &grey) in line.iter().enumerate() {
                    let at = (row * HEIGHT + y) * info.stride + column * across() + x;
                    let depth = info.bytes_per_pixel;
                    expected[at * depth..(at + 1) * depth].fill(grey);
                }
            }
        }
    }
    assert!(memory == expected, "not {rows:#?}");
}

#[test]
fn text_stands_where_it_was_written() {
    for depth in [1, 3, 4] {
        let (mut screen, memory, info) = screen(depth);
        assert_shows(memory, info, &[]);
        screen.write(b"first\r\nsecond line\r\n");
        assert_shows(memory, info, &["first", "second line"]);
    }
}

#[test]
fn a_long_line_goes_on_in_the_next_row() {
    let (mut screen, memory, info) = screen(4);
    screen.write(b"0123456789012345678901234\r\nx");
    assert_shows(memory, info, &["01234567890123456789", "01234", "x"]);
}

#[test]
fn what_the_font_lacks_is_a_question_mark() {
    let (mut screen, memory, info) = screen(4);
    screen.write(b"a\x01\xFFb");
    assert_shows(memory, info, &["a??b"]);
}

#[test]
fn a_full_screen_moves_up_and_keeps_the_end_of_the_text() {
    let (mut screen, memory, info) = screen(4);
    let lines: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    for (n, line) in lines.iter().enumerate() {
        screen.write(line.as_bytes());
        // The end is there before the next row is begun: at least the last five lines.
        let shown = if n < ROWS {
            0..=n
        } else {
            let above = (n - ROWS) % 2; // it moves up by two rows at once
            n - (ROWS - 2) - above..=n
        };
        let rows: Vec<&str> = lines[shown].iter().map(String::as_str).collect();
        assert_shows(memory, info, &rows);
        screen.write(b"\r\n");
    }
}

#[test]
fn a_screen_that_does_not_fit_its_memory_is_refused() {
    let (_, memory, info) = screen(4);
    let small = |change: fn(&mut FrameBufferInfo)| {
        let mut info = info;
        change(&mut info);
        let copy: &'static mut [u8] = memory.to_vec().leak();
        // SAFETY: leaked, and used by this screen alone.
        Screen::new(unsafe { FrameBuffer::new(copy.as_mut_ptr() as u64, info) })
    };
    assert!(small(|_| ()).is_some());
    assert!(small(|info| info.height *= 2).is_none());
    assert!(small(|info| info.width = info.stride + 1).is_none());
    assert!(small(|info| info.width = 3).is_none());
    assert!(small(|info| info.height = 15).is_none());
    assert!(small(|info| info.bytes_per_pixel = usize::MAX / 2).is_none());
}
