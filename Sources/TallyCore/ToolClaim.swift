// The idempotency keys that tools use. They are known by their form, which the HTTP door refuses: a client's key and a
// tool's never meet. They do not expire by time, because an operator may repeat a command whenever he likes.
//
//   import:<32 hex digits>                 the sums of an import, see `Import`
//   import:<32 hex digits>:<number>        the second and further parts of a sum beyond Int64
//   dead-letter:<32 hex digits>:<...>      the replay of a dead letter

/// A tool's idempotency key, by its form.
public enum ToolClaim: Hashable, Sendable {
    case imported(Bytes16)
    case deadLetter

    /// nil if a client may use the key.
    public init?(_ idempotencyKey: some Collection<UInt8>) {
        let isImport = idempotencyKey.starts(with: "import:".utf8)
        guard isImport || idempotencyKey.starts(with: "dead-letter:".utf8),
            let colon = idempotencyKey.firstIndex(of: UInt8(ascii: ":"))
        else { return nil }
        let rest = idempotencyKey[colon...].dropFirst()
        let tail = rest.dropFirst(2 * Bytes16.count)
        guard let id = Bytes16(String(decoding: rest.prefix(2 * Bytes16.count), as: UTF8.self)),
            tail.isEmpty || tail.first == UInt8(ascii: ":")
        else { return nil }
        self = isImport ? .imported(id) : .deadLetter
    }
}
