//! Numeric header fields and the checksum.

use super::BLOCK;

/// Whether a value fits a field of `width` bytes as octal digits and a final zero byte.
pub(super) fn fits_octal(width: usize, value: u64) -> bool {
    let bits = 3 * (width - 1);
    bits >= 64 || value >> bits == 0
}

/// Writes octal digits with leading zeros and a final zero byte. The value must fit.
pub(super) fn put_octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for slot in field[..digits].iter_mut().rev() {
        *slot = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field[digits] = 0;
}

/// Reads octal digits, blanks and zero bytes around them, or GNU's base-256 form (first bit set).
pub(super) fn get_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        return base256(field);
    }
    let text = field.split(|byte| *byte == 0).find(|part| !part.is_empty()).unwrap_or(b"");
    let text = text.trim_ascii();
    text.iter().try_fold(0_i64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(i64::from(digit))
    })
}

fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let fill: u8 = if negative { 0xff } else { 0 };
    let mut value: i64 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        let byte = if at == 0 { (byte & 0x7f) | (fill & 0x80) } else { *byte };
        if at + 8 < field.len() {
            if byte != fill {
                return None;
            }
            continue;
        }
        if at + 8 == field.len() && (byte & 0x80 != 0) != negative {
            return None;
        }
        value = value << 8 | i64::from(byte);
    }
    Some(value)
}

/// Writes magic, version and checksum: the last step of making a header.
pub(super) fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    for at in [329, 337] {
        if block[at] == 0 {
            put_octal(&mut block[at..at + 8], 0);
        }
    }
    let (sum, _) = sums(block);
    put_octal(&mut block[148..155], u64::from(sum));
    block[155] = b' ';
}

/// Whether the checksum is right, counted with unsigned bytes or, as old writers did, with signed ones.
pub(super) fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let said = get_number(&block[148..156]);
    let (unsigned, signed) = sums(block);
    said == Some(i64::from(unsigned)) || said == Some(i64::from(signed))
}

fn sums(block: &[u8; BLOCK]) -> (u32, i32) {
    let mut unsigned = 0;
    let mut signed = 0;
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += u32::from(byte);
        signed += i32::from(byte.cast_signed());
    }
    (unsigned, signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_forms() {
        assert_eq!(get_number(b"0000644\0"), Some(0o644));
        assert_eq!(get_number(b"   644 \0"), Some(0o644));
        assert_eq!(get_number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(get_number(b"00009\0\0\0"), None);
        assert_eq!(get_number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(get_number(&[0xff; 12]), Some(-1));
        assert_eq!(get_number(&[0x80, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(get_number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(get_number(&[0x80, 0x20, 0, 0, 0, 0, 0, 0]), Some(0x20_0000_0000_0000));
    }

    #[test]
    fn octal_is_written_with_leading_zeros() {
        let mut field = [b'x'; 8];
        put_octal(&mut field, 0o4755);
        assert_eq!(&field, b"0004755\0");
        assert!(fits_octal(8, 0o7_777_777) && !fits_octal(8, 0o10_000_000));
    }
}
