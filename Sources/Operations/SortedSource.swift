// Counts from outside, in the order in which a shard file is written: what a change of epoch adds to what it carries.

public import ServiceKit

/// Entries in ascending byte order of their keys, one at a time. The same key may come several times in a row, such as
/// when its entries add up to more than an Int64. One thread owns it.
public protocol SortedSource: AnyObject {
    /// Goes to the next entry, or the first; false after the last. It is not called again after that.
    func next() throws(Failure) -> Bool
    /// A valid key's bytes, valid until the next call of `next`.
    var key: UnsafeRawBufferPointer { get }
    var value: Int64 { get }
    /// How many increments add up to the value.
    var increments: UInt64 { get }
}
