// The word that somebody probably meant: the nearest by edit distance (Levenshtein: insertions, deletions and
// substitutions, each one), if it is near enough to be more likely a slip than another word.

public enum NearestName {
    /// The candidate nearest to `word`, the first of equals; nil if more than a third of the word differs.
    public static func of(_ word: String, among candidates: [String]) -> String? {
        let limit = max(1, word.utf8.count / 3)
        let ranked = candidates.map { (name: $0, distance: distance(word, $0)) }
        guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance <= limit else { return nil }
        return best.name
    }

    /// The number of bytes to insert, delete or replace to turn one text into the other.
    static func distance(_ left: String, _ right: String) -> Int {
        let target = Array(right.utf8)
        var row = Array(0...target.count)
        for (index, byte) in left.utf8.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in target.indices {
                let replaced = diagonal + (byte == target[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
            }
        }
        return row[target.count]
    }
}
