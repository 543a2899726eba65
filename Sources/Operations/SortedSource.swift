// What the builder of shard files reads from: keys in ascending order with what is to be added to each, pulled one by
// one, so that a source of any size takes constant memory.

public import ServiceKit

/// Entries in ascending byte order of their keys. A key comes a second time only if what is to be added to it does not
/// fit an Int64: its entries together then carry the sum.
public protocol SortedSource {
    /// Goes to the next entry, or the first; false after the last. It must not be called again after that.
    ///
    /// - Throws: 74.
    mutating func next() throws(Failure) -> Bool

    /// The key's bytes, valid until the next call of `next`.
    var key: UnsafeRawBufferPointer { get }

    /// What is to be added to the key.
    var value: Int64 { get }
}
