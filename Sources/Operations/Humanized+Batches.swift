// What several commands say of a number of batches.

public import ServiceKit

extension Humanized {
    /// "1 batch", "4 batches".
    public static func batches(_ count: some FixedWidthInteger) -> String {
        count == 1 ? "1 batch" : "\(Humanized.count(count)) batches"
    }
}
