//! The screen as a picture file.

use std::io::Cursor;

use warmboot_machine::{Machine, Picture};

/// The screen as a PNG file; `None` without a display adapter.
#[must_use]
pub fn png(machine: &Machine) -> Option<Vec<u8>> {
    // Writing to memory does not fail, and the sizes fit each other.
    machine.screen().and_then(|picture| encode(&picture).ok())
}

fn encode(picture: &Picture) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&picture.pixels)?;
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let pixels: Vec<u8> = (0..3 * 5 * 4).map(|at| at as u8 * 4).collect();
        let picture = Picture { width: 5, height: 4, pixels: pixels.clone() };
        let file = encode(&picture).expect("a picture");
        let mut reader = png::Decoder::new(Cursor::new(file)).read_info().expect("a header");
        let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut bytes).expect("an image");
        assert_eq!((info.width, info.height, bytes), (5, 4, pixels));
    }
}
