import ServiceKit

extension Failure {
    /// All problems at once: each on a line, with its advice.
    init(_ error: SettingsError) {
        let lines = error.problems.map { problem in
            problem.advice.map { "\(problem.sentence)\n  \($0)" } ?? problem.sentence
        }
        self.init(error.code, lines.joined(separator: "\n"))
    }
}
