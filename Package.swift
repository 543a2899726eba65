// swift-tools-version: 6.2
import PackageDescription

/// One set of rules for every target: Swift 6, imports internal unless public on purpose, no warnings.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "tallymill",
    targets: [
        .target(name: "TallyCore", swiftSettings: strict),
        .testTarget(name: "TallyCoreTests", dependencies: ["TallyCore"], swiftSettings: strict),
    ]
)
