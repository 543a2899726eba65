// One source of settings (the flags, the environment, the file) in the form in which swift-configuration asks for
// values, and the recorder that remembers which source answered: that library's readers return a value without
// its origin, but report every look-up to an access reporter.
//
// Keys are looked up by the setting's name, and every value is text: what a text means, and the message when it
// means nothing, is decided by `SettingKind`, the same for all sources.

import Configuration
import Synchronization

/// Where a value came from.
public enum SettingOrigin: Hashable, Sendable {
    case flag
    case environment
    /// Another program's variable that serves as default, such as STATE_DIRECTORY.
    case variable(String)
    /// A credential that systemd has loaded for this service.
    case credential(String)
    case file(path: String, line: Int)
    case builtIn

    var isFlag: Bool { self == .flag }

    /// The file and line, for messages.
    var place: String? {
        guard case .file(let path, let line) = self else { return nil }
        return "\(path):\(line)"
    }

    /// The setting's name as written there.
    func spelling(of setting: Setting) -> String {
        switch self {
        case .flag: setting.flag
        case .environment: "\(setting.variable) in the environment"
        case .variable(let name): "\(name) in the environment"
        case .credential(let name): "the credential \(name)"
        case .file: setting.variable
        case .builtIn: "the default of \(setting.name)"
        }
    }
}

extension SettingOrigin: CustomStringConvertible {
    public var description: String {
        switch self {
        case .flag: "flag"
        case .environment: "environment"
        case .variable(let name): "environment, \(name)"
        case .credential(let name): "credential \(name)"
        case .file(let path, let line): "\(path):\(line)"
        case .builtIn: "default"
        }
    }
}

struct SettingsLayer: ConfigProvider, ConfigSnapshot {
    struct Entry: Sendable {
        let text: String
        let origin: SettingOrigin
    }

    let providerName: String
    /// By the setting's name.
    var entries: [String: Entry] = [:]

    func value(forKey key: AbsoluteConfigKey, type: ConfigType) throws -> LookupResult {
        let name = key.components.joined(separator: ".")
        precondition(type == .string, "settings are read as text and parsed by their kind")
        let value = entries[name].map { ConfigValue(.string($0.text), isSecret: false) }
        return LookupResult(encodedKey: name, value: value)
    }

    typealias ValueUpdates = ConfigUpdatesAsyncSequence<Result<LookupResult, any Error>, Never>
    typealias SnapshotUpdates = ConfigUpdatesAsyncSequence<any ConfigSnapshot, Never>

    nonisolated(nonsending) func fetchValue(
        forKey key: AbsoluteConfigKey, type: ConfigType
    ) async throws -> LookupResult {
        try value(forKey: key, type: type)
    }

    nonisolated(nonsending) func watchValue<Return: ~Copyable>(
        forKey key: AbsoluteConfigKey, type: ConfigType,
        updatesHandler: nonisolated(nonsending) (ValueUpdates) async throws -> Return
    ) async throws -> Return {
        try await watchValueFromValue(forKey: key, type: type, updatesHandler: updatesHandler)
    }

    func snapshot() -> any ConfigSnapshot { self }

    nonisolated(nonsending) func watchSnapshot<Return: ~Copyable>(
        updatesHandler: nonisolated(nonsending) (SnapshotUpdates) async throws -> Return
    ) async throws -> Return {
        try await watchSnapshotFromSnapshot(updatesHandler: updatesHandler)
    }
}

/// The layers in order of precedence.
struct SettingsLayers {
    let layers: [SettingsLayer]

    /// The first layer's entry for each setting that any layer has, by name.
    func resolve(_ settings: [Setting]) -> [String: SettingsLayer.Entry] {
        let recorder = OriginRecorder()
        let reader = ConfigReader(providers: layers, accessReporter: recorder)
        var found: [String: SettingsLayer.Entry] = [:]
        for setting in settings {
            guard let text = reader.string(forKey: ConfigKey([setting.name]), isSecret: setting.isSecret),
                let layer = layers.first(where: { $0.providerName == recorder.providerName(of: setting.name) }),
                let entry = layer.entries[setting.name]
            else { continue }
            precondition(entry.text == text, "the layer that answered holds the answer")
            found[setting.name] = entry
        }
        return found
    }
}

/// Remembers which provider answered for each key.
private final class OriginRecorder: AccessReporter {
    private let answered = Mutex<[String: String]>([:])

    func report(_ event: AccessEvent) {
        // The library stops asking at the first provider that has a value: the last result is the answer's.
        guard let last = event.providerResults.last else { return }
        answered.withLock { $0[event.metadata.key.components.joined(separator: ".")] = last.providerName }
    }

    func providerName(of key: String) -> String? {
        answered.withLock { $0[key] }
    }
}
