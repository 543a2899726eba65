// Every setting there is: `--help`, the checks, the sample file and the README's table all come from here. To add
// one, add a constant and its line in `table`; a test fails when the two differ.

extension Setting {
    private static let webCommands: Set<CommandName> = [.up, .web]

    // Common to all commands.
    public static let redis = Setting(
        "redis", .url(schemes: ["redis", "unix"]),
        absence: "the socket of the `up` that owns the data folder, else redis://127.0.0.1:6379",
        help: "Redis, as redis://[user:password@]host:port[/db] or unix:///path")
    public static let redisPasswordFile = Setting(
        "redis-password-file", .path, absence: "no password but the URL's", fallbackCredential: "redis-password",
        help: "file whose first line is the password of Redis")
    public static let namespace = Setting(
        "namespace", .name(maximumBytes: 64), default: "tallymill",
        help: "first part of all key names in Redis, so that clusters can share one")
    public static let allowVolatileRedis = Setting(
        "allow-volatile-redis", .flag, default: "false",
        help: "accept a Redis that can lose acknowledged counts when it crashes")
    public static let dataDir = Setting(
        "data-dir", .path, default: "./tallymill-data", fallbackVariable: "STATE_DIRECTORY",
        help: "folder of the cluster file and the shards")
    public static let config = Setting(
        "config", .path, absence: "no file", isAllowedInFile: false,
        help: "file of KEY=VALUE lines; environment and flags take precedence")
    public static let logLevel = Setting(
        "log-level", .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]), default: "info",
        isReloadable: true, help: "least severe level that is logged")
    public static let logFormat = Setting(
        "log-format", .choice(["auto", "text", "json", "journal"]), default: "auto",
        help: "form of the log: auto is text on a terminal, fields in systemd's journal, else JSON")

    // The cluster.
    public static let partitions = Setting(
        "partitions", .integer(1...1024), default: "4", commands: [.initialize, .up],
        help: "number of partitions of a new cluster, K")
    public static let idempotencyRetention = Setting(
        "idempotency-retention", .duration(1_000...366 * 86_400_000), default: "7d", isReloadable: true,
        commands: [.up, .consume],
        help: "how long a repeated Idempotency-Key is recognised")

    // The roles.
    public static let adminHost = Setting(
        "admin-host", .host, default: "127.0.0.1", commands: [.up, .web, .consume],
        help: "where the admin listener listens: /livez, /readyz, /status, /metrics")
    public static let adminPort = Setting(
        "admin-port", .integer(0...65_535),
        absence: "a web node: its own port + 10000, or - 10000 above 55535; a consumer: 9400 + its first partition",
        commands: [.up, .web, .consume], help: "port of the admin listener; 0 lets the system choose")

    // The web node.
    public static let listen = Setting(
        "listen", .endpoint, default: "127.0.0.1:3333", commands: webCommands, help: "address of the HTTP listener")
    public static let eventLoops = Setting(
        "event-loops", .integer(1...256), absence: "one a processor core", commands: webCommands,
        help: "number of event loops")
    public static let outboxBytes = Setting(
        "outbox-bytes", .bytes(1 << 20...1 << 40), default: "256MiB", isReloadable: true, commands: webCommands,
        help: "most bytes that a node holds for Redis before it refuses requests")
    public static let queueBytes = Setting(
        "queue-bytes", .bytes(1 << 20...1 << 40), default: "256MiB", isReloadable: true,
        commands: webCommands.union([.rebalance]),
        help: "most bytes that wait in Redis for one partition before requests are refused")
    public static let batchBytes = Setting(
        "batch-bytes", .bytes(1 << 10...64 << 20), default: "1MiB", commands: webCommands,
        help: "most bytes of one batch")
    public static let requestBodyBytes = Setting(
        "request-body-bytes", .bytes(1 << 10...64 << 20), default: "1MiB", commands: webCommands,
        help: "longest body of a request")
    public static let requestIncrements = Setting(
        "request-increments", .integer(1...1_000_000), default: "10000", commands: webCommands,
        help: "most increments in one request")
    public static let requestMemoryBytes = Setting(
        "request-memory-bytes", .bytes(1 << 20...1 << 40), default: "128MiB", commands: webCommands,
        help: "most bytes of unfinished requests and unread answers, of all connections together")
    public static let unansweredRequests = Setting(
        "unanswered-requests", .integer(1...65_536), default: "128", commands: webCommands,
        help: "most requests of one connection that wait for their answer")
    public static let maxConnections = Setting(
        "max-connections", .integer(1...1_000_000), default: "20000", commands: webCommands,
        help: "most connections at a time")
    public static let connectionsPerAddress = Setting(
        "connections-per-address", .integer(1...1_000_000), absence: "as many as there may be", commands: webCommands,
        help: "most connections of one client address at a time, of IPv6 one network of 64 bits")
    public static let tokensFile = Setting(
        "tokens-file", .path, absence: "no tokens", fallbackCredential: "tokens",
        commands: webCommands.union([.consume]),
        help: "file of the tokens that requests must bring; needed outside loopback")

    public static let allowedHosts = Setting(
        "allowed-hosts", .hosts, absence: "names of this machine only", commands: webCommands.union([.consume]),
        help: "hosts, with commas, that Host and Origin may name where no tokens are demanded")

    // Clients of web nodes.
    public static let tokenFile = Setting(
        "token-file", .path, absence: "no token", commands: [.audit, .bench, .top],
        help: "file whose first line is the token for the web node")

    /// All settings, in the order in which they are listed.
    public static let table: [Setting] = [
        redis, redisPasswordFile, namespace, allowVolatileRedis, dataDir, config, logLevel, logFormat,
        partitions, idempotencyRetention, adminHost, adminPort,
        listen, eventLoops, outboxBytes, queueBytes, batchBytes, requestBodyBytes, requestIncrements,
        requestMemoryBytes, unansweredRequests, maxConnections, connectionsPerAddress, tokensFile, allowedHosts,
        tokenFile,
    ]

    /// The settings that are flags of a command, in the table's order.
    public static func all(of command: CommandName) -> [Setting] {
        table.filter { $0.commands.contains(command) }
    }

    /// The setting of that name, such as `outbox-bytes`.
    public static func named(_ name: String) -> Setting? {
        table.first { $0.name == name }
    }

    /// The setting of that variable, such as `TALLYMILL_OUTBOX_BYTES`.
    static func ofVariable(_ variable: String) -> Setting? {
        table.first { $0.variable == variable }
    }
}
