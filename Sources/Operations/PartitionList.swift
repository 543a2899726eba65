// `--partitions 0-3,7`: which partitions a consumer process takes.

public import ServiceKit

/// Lists of partition numbers.
public enum PartitionList {
    /// Numbers in the order given, each once.
    ///
    /// - Parameter partitions: K.
    /// - Throws: 78 for a number outside 0..<K, naming the valid range; 64 for anything that is no list.
    public static func parse(_ text: String, partitions: Int) throws(Failure) -> [UInt32] {
        var numbers: [UInt32] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { number($0) }
            guard let first = ends[0], let last = ends[ends.count - 1], first <= last else {
                throw Failure(
                    .usage, "\"\(text)\" is no list of partitions", at: "--partitions",
                    advice: "Write numbers and ranges, such as 0-3 or 0,2,5-7.")
            }
            guard last < partitions else {
                throw Failure(
                    .configuration, "this cluster has no partition \(last)", at: "--partitions",
                    advice: "Its partitions are 0 to \(partitions - 1).")
            }
            numbers += (first...last).filter { !numbers.contains($0) }
        }
        return numbers
    }

    /// Numbers as `parse` reads them, in ascending order.
    public static func text(_ numbers: [UInt32]) -> String {
        var ranges: [ClosedRange<UInt32>] = []
        for number in numbers.sorted() {
            if let last = ranges.last, number <= last.upperBound + 1 {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
        return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ",")
    }

    private static func number(_ text: Substring) -> UInt32? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt32(text) : nil
    }
}
