// What is left of a range of sequences.

extension ClosedRange where Bound: FixedWidthInteger {
    /// What of it lies in none of `others`, in order; they may overlap and come in any order.
    public func outside(_ others: [ClosedRange]) -> [ClosedRange] {
        others.reduce(into: [self]) { parts, other in
            parts = parts.flatMap { part -> [ClosedRange] in
                guard part.overlaps(other) else { return [part] }
                var left: [ClosedRange] = []
                if part.lowerBound < other.lowerBound { left.append(part.lowerBound...other.lowerBound - 1) }
                if part.upperBound > other.upperBound { left.append(other.upperBound + 1...part.upperBound) }
                return left
            }
        }
    }
}
