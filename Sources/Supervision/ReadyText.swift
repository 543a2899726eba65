// What `up` prints when everything works: lines to be pasted into another terminal, whatever folder that one is in; and
// what it adds when consumers cannot work yet.

public import ServiceKit

/// The text, once the web node has said where it listens.
public struct ReadyText {
    private let partitions: Int
    private let shownFolder: String
    private let given: GivenOptions
    private let demandsTokens: Bool

    /// - Parameters:
    ///   - shownFolder: the data folder as it was given.
    ///   - given: what commands are completed with.
    ///   - demandsTokens: whether clients need one.
    public init(
        partitions: Int, shownFolder: String, given: GivenOptions, demandsTokens: Bool = false
    ) {
        self.partitions = partitions
        self.shownFolder = shownFolder
        self.given = given
        self.demandsTokens = demandsTokens
    }

    /// - Parameter address: as the web node reported it, such as http://0.0.0.0:3333, or
    ///   `http://localhost:3333 (127.0.0.1:3333, [::1]:3333)`.
    public func text(address: String) -> String {
        let token = demandsTokens ? #"-H "Authorization: Bearer $TOKEN" "# : ""
        return """
            tallymill is ready: \(address), \(partitions == 1 ? "1 partition" : "\(partitions) partitions"), \
            data in \(shownFolder)
              curl \(token)-d 'key=hello&value=1' \(Self.reachable(Self.url(in: address)))/increment
              \(given.command("tallymill report"))
            Ctrl-C drains and stops it.
            """
    }

    /// What a web node reported begins with its URL; in brackets behind it is what is bound.
    static func url(in address: String) -> String { String(address.prefix { $0 != " " }) }

    /// An address that clients on this machine can use: nobody connects to "any address". The brackets of IPv6 mean
    /// something to shells and to curl.
    static func reachable(_ address: String) -> String {
        for (any, local) in [("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")] {
            guard let range = address.firstRange(of: any) else { continue }
            return reachable(address.replacingCharacters(in: range, with: local))
        }
        return address.contains("[") ? "-g '\(address)'" : address
    }
}

/// Of an epoch that a rebalance has not finished.
public enum UnfinishedText {
    /// - Parameter given: what commands are completed with.
    public static func text(_ state: ClusterState, given: GivenOptions) -> String {
        let partitions = state.partitions == 1 ? "1 partition" : "\(state.partitions) partitions"
        return "The rebalance to \(partitions) is unfinished: until `\(given.command("tallymill rebalance resume"))` "
            + "has gone on with it, what is counted waits in Redis."
    }
}

extension String {
    fileprivate func replacingCharacters(in range: Range<String.Index>, with text: String) -> String {
        self[..<range.lowerBound] + text + self[range.upperBound...]
    }
}
