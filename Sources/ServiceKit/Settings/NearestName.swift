// The word that somebody probably meant: the nearest by edit distance (insertions, deletions, substitutions and swaps
// of neighbours, each one: "optimal string alignment"), if it is near enough to be more likely a slip than another
// word.

public enum NearestName {
    /// The candidate nearest to `word`, the first of equals; nil if more than a third of the word differs.
    public static func of(_ word: String, among candidates: [String]) -> String? {
        let limit = max(1, word.utf8.count / 3)
        let ranked = candidates.map { (name: $0, distance: distance(word, $0)) }
        guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance <= limit else { return nil }
        return best.name
    }

    /// The number of bytes to insert, delete, replace or swap with their neighbour to turn one text into the other.
    static func distance(_ left: String, _ right: String) -> Int {
        let (source, target) = (Array(left.utf8), Array(right.utf8))
        var beforeLast: [Int] = []
        var last = Array(0...target.count)
        for index in source.indices {
            var row = [index + 1]
            for column in target.indices {
                let replaced = last[column] + (source[index] == target[column] ? 0 : 1)
                var least = min(replaced, row[column] + 1, last[column + 1] + 1)
                let isSwap =
                    index > 0 && column > 0 && source[index] == target[column - 1]
                    && source[index - 1] == target[column]
                if isSwap { least = min(least, beforeLast[column - 1] + 1) }
                row.append(least)
            }
            (beforeLast, last) = (last, row)
        }
        return last[target.count]
    }
}
