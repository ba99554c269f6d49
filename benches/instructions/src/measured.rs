//! The one function whose instructions count.

/// Does `work`; callgrind counts from when this is entered until it is left.
///
/// There is one for all cases, and what a case does is a closure elsewhere: callgrind knows it by
/// its name, and a second function that has this name in its own would end the counting.
#[inline(never)]
pub(crate) fn measured(work: &mut dyn FnMut()) {
    work();
    // Else leaving it might be a jump into the work, which callgrind does not see.
    std::hint::black_box(());
}
