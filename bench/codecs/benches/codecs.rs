//! Time of the codecs: a request for the vendor, an answer for the caller, a piece of a stream.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn codecs(criterion: &mut Criterion) {
    let cases = codecs::cases().expect("every codec of the bench is there");
    for case in &cases {
        let mut group = criterion.benchmark_group(case.name);
        group.bench_function("encode", |bencher| bencher.iter(|| case.encode()));
        group.bench_function("decode", |bencher| bencher.iter(|| case.decode()));
        group.throughput(Throughput::Elements(case.pieces() as u64));
        group.bench_function("stream", |bencher| bencher.iter(|| case.stream()));
        group.throughput(Throughput::Bytes(codecs::PICTURE as u64));
        group.bench_function("encode with 10 MiB of picture", |bencher| bencher.iter(|| case.encode_picture()));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = codecs
}
criterion_main!(benches);
