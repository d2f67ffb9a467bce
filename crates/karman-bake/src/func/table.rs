//! The table of functions.

use super::{
    Args, Out, cidr, collection, crypto, encoding, format, number, semver, sets, text, time,
};

/// A function: its name, the fewest and the most arguments, and what it does.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) fewest: usize,
    pub(crate) most: usize,
    pub(crate) call: fn(Args) -> Out,
}

/// Any number of arguments.
const ANY: usize = usize::MAX;

const fn f(name: &'static str, fewest: usize, most: usize, call: fn(Args) -> Out) -> Function {
    Function { name, fewest, most, call }
}

/// All functions, sorted by name.
pub(crate) static TABLE: &[Function] = &[
    f("absolute", 1, 1, number::absolute),
    f("add", 2, 2, number::f_add),
    f("and", 2, 2, number::and),
    f("base64decode", 1, 1, encoding::base64decode),
    f("base64encode", 1, 1, encoding::base64encode),
    f("basename", 1, 1, text::basename),
    f("byteslen", 1, 1, text::byteslen),
    f("bytesslice", 3, 3, text::bytesslice),
    f("ceil", 1, 1, number::ceil),
    f("chomp", 1, 1, text::chomp),
    f("chunklist", 2, 2, collection::chunklist),
    f("cidrhost", 2, 2, cidr::host),
    f("cidrnetmask", 1, 1, cidr::netmask),
    f("cidrsubnet", 3, 3, cidr::subnet),
    f("cidrsubnets", 1, ANY, cidr::subnets),
    f("coalesce", 1, ANY, collection::coalesce),
    f("coalescelist", 1, ANY, collection::coalescelist),
    f("compact", 1, 1, collection::compact),
    f("concat", 1, ANY, collection::concat),
    f("contains", 2, 2, collection::contains),
    f("csvdecode", 1, 1, encoding::csvdecode),
    f("dirname", 1, 1, text::dirname),
    f("distinct", 1, 1, collection::distinct),
    f("divide", 2, 2, number::f_divide),
    f("element", 2, 2, collection::element),
    f("equal", 2, 2, number::equal),
    f("flatten", 1, 1, collection::flatten),
    f("floor", 1, 1, number::floor),
    f("format", 1, ANY, format::format),
    f("formatdate", 2, 2, time::formatdate),
    f("formatlist", 1, ANY, format::formatlist),
    f("greaterthan", 2, 2, number::greaterthan),
    f("greaterthanorequalto", 2, 2, number::greaterthanorequalto),
    f("hasindex", 2, 2, collection::hasindex),
    f("indent", 2, 2, text::indent),
    f("index", 2, 2, collection::index),
    f("indexof", 2, 2, collection::indexof),
    f("int", 1, 1, number::int),
    f("join", 2, ANY, text::join),
    f("jsondecode", 1, 1, encoding::jsondecode),
    f("jsonencode", 1, 1, encoding::jsonencode),
    f("keys", 1, 1, collection::keys),
    f("length", 1, 1, collection::length),
    f("lessthan", 2, 2, number::lessthan),
    f("lessthanorequalto", 2, 2, number::lessthanorequalto),
    f("log", 2, 2, number::log),
    f("lookup", 2, 3, collection::lookup),
    f("lower", 1, 1, text::lower),
    f("max", 1, ANY, number::max),
    f("md5", 1, 1, encoding::md5),
    f("merge", 0, ANY, collection::merge),
    f("min", 1, ANY, number::min),
    f("modulo", 2, 2, number::f_modulo),
    f("multiply", 2, 2, number::f_multiply),
    f("negate", 1, 1, number::negate),
    f("not", 1, 1, number::not),
    f("notequal", 2, 2, number::notequal),
    f("or", 2, 2, number::or),
    f("parseint", 2, 2, number::parseint),
    f("pow", 2, 2, number::pow),
    f("range", 1, 3, collection::range),
    f("regex", 2, 2, text::regex),
    f("regex_replace", 3, 3, text::regex_replace),
    f("regexall", 2, 2, text::regexall),
    f("replace", 3, 3, text::replace),
    f("reverse", 1, 1, text::reverse),
    f("reverselist", 1, 1, collection::reverselist),
    f("rfc3339parse", 1, 1, time::rfc3339parse),
    f("rsadecrypt", 2, 2, crypto::rsadecrypt),
    f("sanitize", 1, 1, text::sanitize),
    f("semvercmp", 2, 2, semver::semvercmp),
    f("sethaselement", 2, 2, sets::sethaselement),
    f("setintersection", 1, ANY, sets::setintersection),
    f("setproduct", 1, ANY, sets::setproduct),
    f("setsubtract", 2, 2, sets::setsubtract),
    f("setsymmetricdifference", 1, ANY, sets::setsymmetricdifference),
    f("setunion", 1, ANY, sets::setunion),
    f("sha1", 1, 1, encoding::sha1),
    f("sha256", 1, 1, encoding::sha256),
    f("sha512", 1, 1, encoding::sha512),
    f("signum", 1, 1, number::signum),
    f("slice", 3, 3, collection::slice),
    f("sort", 1, 1, collection::sort),
    f("split", 2, 2, text::split),
    f("strlen", 1, 1, text::strlen),
    f("substr", 3, 3, text::substr),
    f("subtract", 2, 2, number::f_subtract),
    f("timeadd", 2, 2, time::timeadd),
    f("title", 1, 1, text::title),
    f("trim", 2, 2, text::trim),
    f("trimprefix", 2, 2, text::trimprefix),
    f("trimspace", 1, 1, text::trimspace),
    f("trimsuffix", 2, 2, text::trimsuffix),
    f("unixtimestampparse", 1, 1, time::unixtimestampparse),
    f("upper", 1, 1, text::upper),
    f("urlencode", 1, 1, encoding::urlencode),
    f("uuidv5", 2, 2, encoding::uuidv5),
    f("values", 1, 1, collection::values),
    f("zipmap", 2, 2, collection::zipmap),
];

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLE.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &TABLE[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Number, Value};

    #[test]
    fn the_table_is_sorted_so_that_search_works() {
        assert!(TABLE.windows(2).all(|w| w[0].name < w[1].name));
        assert!(TABLE.iter().all(|f| f.fewest <= f.most));
    }

    fn samples() -> Vec<Value> {
        let texts = [
            "",
            "é%[3]*d",
            "%5.3f%v",
            "2024-02-30T23:59:60é",
            "10.0.0.0/8",
            "::/0",
            "-1h5",
            "'x",
            "(",
            "$1",
            "==",
        ];
        let numbers =
            [Number::Int(0), Number::Int(-1), Number::Int(i128::MAX), Number::Int(i128::MIN)];
        let mut all: Vec<Value> = texts.into_iter().map(Value::text).collect();
        all.extend(numbers.map(Value::Number));
        all.extend([Value::Number(Number::Float(-0.5)), Value::Null, Value::Bool(true)]);
        all.push(Value::List(all.clone()));
        all.push(Value::List(vec![Value::text("a"), Value::text("é")]));
        all.push(Value::List(Vec::new()));
        all.push(Value::Object([("a".to_owned(), Value::Null)].into()));
        all
    }

    #[test]
    fn no_function_panics_whatever_its_arguments() {
        let samples = samples();
        let mut calls = 0;
        for f in TABLE {
            let each = || samples.iter().cloned();
            let mut given: Vec<Vec<Value>> = vec![Vec::new()];
            given.extend(each().map(|a| vec![a]));
            given.extend(each().flat_map(|a| each().map(move |b| vec![a.clone(), b])));
            let three = each().flat_map(|a| each().map(move |b| (a.clone(), b)));
            given.extend(
                three.flat_map(|(a, b)| each().map(move |c| vec![a.clone(), b.clone(), c])),
            );
            for args in given.into_iter().filter(|a| (f.fewest..=f.most).contains(&a.len())) {
                calls += usize::from((f.call)(Args(args)).is_ok());
            }
        }
        assert!(calls > 10_000, "{calls}");
    }
}
