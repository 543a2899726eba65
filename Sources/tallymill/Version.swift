// What `--version` prints: enough to tell from a bug report what ran.

import CPlatform
import RedisQueue
import ShardStore

enum Version {
    static let number = "0.1.0"

    static var commit: String { String(cString: tm_commit()) }

    static var text: String {
        """
        tallymill \(number) (\(commit))
        Swift \(swift), SQLite \(SQLiteLibrary.version), hiredis \(RedisLibrary.version)
        """
    }

    /// The compiler offers no constant, only comparisons.
    private static var swift: String {
        #if compiler(>=6.5)
            "6.5 or later"
        #elseif compiler(>=6.4)
            "6.4"
        #elseif compiler(>=6.3)
            "6.3"
        #else
            "6.2"
        #endif
    }
}
