import RedisQueue
import Testing

@Suite struct RedisURLTests {
    @Test func placeholder() throws {
        #expect(try RedisURL("redis://localhost").description == "redis://localhost:6379")
    }
}
